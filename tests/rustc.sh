#!/usr/bin/env bash
# rustc with clippy's lints, and with a look at the documentation: cargo calls this in place of rustc for the crates of
# the workspace (RUSTC_WORKSPACE_WRAPPER). So `make test` compiles everything once, where `cargo clippy` and `cargo doc`
# would each read all dependencies again. Clippy's own arguments come in CLIPPY_ARGS (tests/run.sh).
set -euo pipefail

clippy-driver "$@"

# What `cargo doc` would show: libraries and programs, so neither code for tests nor examples. Cargo's questions compile nothing.
case " $* " in *' --test '* | *' examples/'* | *' benches/'* | *' --crate-name ___ '* | *' -vV '*) exit 0 ;; esac

shift # rustc's own path
arguments=()
while [ $# -gt 0 ]; do
  case "$1" in
    --emit=*) ;;
    --out-dir) shift ;;
    *) arguments+=("$1") ;;
  esac
  shift
done
# The documentation is for those who work on the code: it may link to what is private.
exec rustdoc "${arguments[@]}" --document-private-items -Dwarnings -Arustdoc::private-intra-doc-links \
  --out-dir "${CARGO_TARGET_DIR:-target}/lint-docs"
