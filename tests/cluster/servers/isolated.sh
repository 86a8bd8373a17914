#!/bin/sh
# Run a command in a network namespace that has only the loopback interface: tests/cluster/servers/isolated.sh COMMAND...
set -eu
for needed in unshare ip; do
  command -v "$needed" > /dev/null || { echo "expected the program $needed (util-linux, iproute2); got none" >&2; exit 1; }
done
exec unshare --map-root-user --net sh -c 'ip link set lo up && exec "$@"' sh "$@"
