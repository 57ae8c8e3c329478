# Ends nodes whose owner is gone, however it went. Reads from the owner, a line each:
#   started PID    this process is to be killed when the lines end
#   ended PID      it has ended by itself
#   release        leave everything as it is, and end
# The lines end when the owner does. The folder in $1, if any, is removed then.
pids=
while read -r verb pid; do
  case $verb in
    started) pids="$pids $pid" ;;
    ended)
      left=
      for other in $pids; do
        [ "$other" = "$pid" ] || left="$left $other"
      done
      pids=$left
      ;;
    release) exit 0 ;;
  esac
done
for pid in $pids; do
  kill -9 "$pid" 2>/dev/null
done
if [ -n "${1:-}" ]; then
  sleep 0.2
  rm -rf "$1"
fi
