#!/bin/sh
# Build step: let the tool environment find the package under /opt/musabi/src, and the shell find `musabi`.
# No build tool is fetched for that, and the package's folder keeps the wrappers and templates beside it.
set -eu
root=/opt/musabi
site=$("$root/venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
echo "$root/src" >"$site/musabi.pth"
cat >"$root/venv/bin/musabi" <<END
#!$root/venv/bin/python
from musabi.cli import main

main()
END
chmod 755 "$root/venv/bin/musabi"
ln -s "$root/venv/bin/musabi" /usr/local/bin/musabi
