#!/bin/sh
# Installs what the tests of the page need: a Chromium and its driver. Where there is no apt it only
# says so; the tests then tell what is missing.
set -eu

present() { command -v chromedriver >/dev/null && { command -v chromium || command -v google-chrome; } >/dev/null; }

if present; then
	exit 0
fi
if ! command -v apt-get >/dev/null; then
	echo 'install_browser: no apt-get here; install chromium and chromedriver by other means' >&2
	exit 0
fi
if [ "$(id -u)" -eq 0 ]; then sudo=; else sudo='sudo -n'; fi
export DEBIAN_FRONTEND=noninteractive
$sudo apt-get update -qq
$sudo apt-get install -y -qq --no-install-recommends chromium chromium-driver fonts-dejavu-core >/dev/null
present
