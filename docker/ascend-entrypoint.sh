#!/bin/bash
# Set the variables through which CANN's libraries are found, then run the service.
set -eo pipefail # not -u: CANN's script reads variables that may be unset
driver=/usr/local/Ascend/driver/lib64
export LD_LIBRARY_PATH="$driver/driver:$driver/common:$driver:${LD_LIBRARY_PATH:-}"
for script in /usr/local/Ascend/ascend-toolkit/set_env.sh /usr/local/Ascend/cann/set_env.sh; do
  if [[ -r "$script" ]]; then
    # shellcheck source=/dev/null
    source "$script"
    break
  fi
done
exec "$@"
