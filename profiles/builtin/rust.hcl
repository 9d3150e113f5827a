# rust: cargo. Crates are downloaded; nothing is published.
#
# For a profile of yours: extends = ["claude-code", "rust"]. The caches are fresh in each
# run. Of rustup, the toolchains that you have are there to read; it can't add any. To
# begin with your cache of crates:
#
#   files {
#     home ".cargo/registry" { mode = "overlay" }   # needs Linux 6.6
#   }
description = "cargo: crates are downloaded, nothing is published"
extends     = ["base"]

network {
  allow "crates" {
    hosts  = ["*.crates.io"]
    reason = "crates and their index"

    request "GET|HEAD" "/**" {}
  }
}

files {
  exec = ["~/.cargo/bin", "~/.rustup/toolchains"]

  # rustup's programs in ~/.cargo/bin find the toolchain by these.
  home ".rustup/settings.toml" { mode = "copy" }
  home ".rustup/toolchains" { mode = "readonly" }
}

process {
  pass_env = ["PATH", "RUSTUP_TOOLCHAIN"]
  env = {
    CARGO_TERM_PROGRESS_WHEN = "never"
  }
}
