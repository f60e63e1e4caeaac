#!/bin/sh
# Print the tags that a build gets, with commas between them: tags.sh GIT-REF COMMIT
# main: latest, main; a version's tag: that version; each of them, and any other branch, sha-COMMIT.
set -eu
commit=sha-$(printf '%.7s' "$2")
case $1 in
refs/heads/main) echo "latest,main,$commit" ;;
refs/tags/v*) echo "${1#refs/tags/},$commit" ;;
*) echo "$commit" ;;
esac
