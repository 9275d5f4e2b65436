#!/bin/sh
# AfterInstall: the release is complete but not live. Make here whatever depends on where it runs:
# configuration from the environment, assets, caches. When this ends well, /opt/app points to the release.
set -eu

sed -e "s|@VERSION@|$(cat VERSION)|" \
    -e "s|@DEPLOYMENT_ID@|$DEPLOYMENT_ID|" \
    -e "s|@GROUP@|$DEPLOYMENT_GROUP_NAME|" \
    -e "s|@INSTANCE_ID@|$INSTANCE_ID|" \
    www/index.html.in > www/index.html
mkdir -p run
echo "rendered www/index.html for $DEPLOYMENT_GROUP_NAME"
