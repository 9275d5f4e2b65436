#!/bin/bash
# AfterInstall: the files are in the release directory, and the link does not point to it yet: nobody
# sees it half done. This is the place to compile, to render, to migrate.
set -euo pipefail

bundle=${0%/*}/..                  # the unpacked revision
app=${USHER_RELEASE_DIR:-/opt/app} # the files as installed: AWS's agent has no releases, and sets no such variable

# Assigned first, used afterwards: a $(...) that fails inside a here-document would go unnoticed.
release=${app##*/}
version=$(cat "$bundle/VERSION")

cat >"$app/www/index.html" <<HTML
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>${APPLICATION_NAME:-Example}</title>
<link rel="stylesheet" href="style.css">
<h1>${APPLICATION_NAME:-Example} $version</h1>
<dl>
  <dt>Release</dt><dd>$release</dd>
  <dt>Commit</dt><dd>${BUNDLE_COMMIT:-none}</dd>
  <dt>Deployment</dt><dd>${DEPLOYMENT_ID:-none}</dd>
  <dt>Instance</dt><dd>${INSTANCE_ID:-none}</dd>
</dl>
HTML
echo "rendered www/index.html of $release"
