# node: npm, yarn and pnpm. Packages are downloaded; nothing is published.
#
# For a profile of yours: extends = ["claude-code", "node"]. The caches are fresh in each
# run. To begin with yours, which may hold packages of private registries:
#
#   files {
#     home ".npm/_cacache" { mode = "overlay" }   # needs Linux 6.6; "copy" works everywhere
#   }
#
# A registry of your own is an allow of its own, with its token as a secret.
description = "npm, yarn and pnpm: packages are downloaded, nothing is published"
extends     = ["base"]

network {
  allow "npm" {
    hosts  = ["*.npmjs.org", "*.yarnpkg.com"]
    reason = "packages of npm and yarn"

    request "GET|HEAD" "/**" {}
    request "GET|HEAD" "/@*%2f*" {} # packages with a scope
  }
}

files {
  exec = ["~/.nvm/versions", "~/.volta", "~/.fnm", "~/.local/share/fnm", "~/.local/share/pnpm", "~/.bun/bin", "~/.npm-global"]
}

process {
  pass_env = ["PATH"] # the programs of version managers are in folders of yours
  env = {
    npm_config_audit           = "false" # would send the list of packages
    npm_config_fund            = "false"
    npm_config_update_notifier = "false"
  }
}
