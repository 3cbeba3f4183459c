# Shared by the scripts beside it (sourced, not run): where things are, and how a step is announced.
#
# Everything that is fetched or built once and used by many checkouts is under $PINPOD_CACHE.

set -euo pipefail

PINPOD_TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
PINPOD_CACHE=${PINPOD_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/pinpod}
PINPOD_BIN=$PINPOD_CACHE/bin
PINPOD_TARGET=${CARGO_TARGET_DIR:-$PINPOD_TOP/target}

# The helpers are static: they run where the node's own libraries may be older, or not there.
# A target of its own keeps these flags away from build scripts and from the daemon's build.
PINPOD_HELPER_TARGET=$(uname -m)-unknown-linux-gnu

say() { printf '\n==> %s\n' "$*"; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }
need_root() { [ "$(id -u)" = 0 ] || die "$1 needs root (namespaces, mounts, cgroups)"; }

# Rust and Go as rustup and the Go archive install them, when the shell's PATH does not say so.
for dir in "$HOME/.cargo/bin" /usr/local/go/bin /usr/lib/go/bin; do
    case ":$PATH:" in *":$dir:"*) ;; *) [ ! -d "$dir" ] || PATH=$PATH:$dir ;; esac
done
# A Go of our own (scripts/setup) comes before one that is too old.
[ ! -x "$PINPOD_CACHE/go/bin/go" ] || PATH=$PINPOD_CACHE/go/bin:$PATH
export PATH
