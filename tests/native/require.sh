#!/bin/sh
# require.sh THING=PACKAGE...: a thing is a program or a file (a pattern may match it). Where one is missing, installs
# its Debian package, or says what to install.
set -eu
missing=
for pair; do
  thing=${pair%=*}
  command -v "$thing" >/dev/null 2>&1 || ls $thing >/dev/null 2>&1 || missing="$missing ${pair#*=}"
done
[ -n "$missing" ] || exit 0
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
  echo "please install what Debian calls$missing" >&2
  exit 1
fi
echo "installing$missing"
apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
