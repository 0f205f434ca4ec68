# Installs the system's Python where there is none: all other tools are written in it.
set -eu
if [ "$(id -u)" != 0 ]; then
    echo "/usr/bin/python3 is missing: install the package python3 as root" >&2
    exit 1
fi
if command -v apt-get >/dev/null; then
    export DEBIAN_FRONTEND=noninteractive
    # As with the other packages: one repository that does not answer is no reason to stop, the lists may still do.
    apt-get -qq update </dev/null || echo "apt-get update failed: trying with the package lists that are here" >&2
    apt-get -qq install --no-install-recommends python3 </dev/null >/dev/null
elif command -v dnf >/dev/null; then
    dnf -q -y install python3 </dev/null
else
    echo "/usr/bin/python3 is missing, and neither apt-get nor dnf is here: install Python 3.11 or newer" >&2
    exit 1
fi
