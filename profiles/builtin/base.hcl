# base: what every profile stands on. A profile that does not say what it extends
# extends this one; `extends = []` goes without.
#
# It gives the programs of the system, the few files under /etc that they read, and
# a workspace whose changes stay in the jail. It gives no network, nothing of your
# home folder, and no variable of your environment but language and terminal.
description = "The system's programs and an overlay of the workspace, nothing else"
extends     = []

# Your files are the lower layer of an overlay and never change. What the agent
# changes is kept apart, up to `size` and `files`, and handed over after the run.
workspace {
  mode  = "overlay"
  upper = "auto" # memory, or disk where the kernel can't do it in memory
  size  = "2GiB"
  files = 500000
}

files {
  # Programs and libraries. /opt is not among them: what is installed there is
  # yours to name, files { exec = ["/opt/NAME"] }.
  exec = [
    "/usr",
    "/bin", "/sbin",
    "/lib", "/lib32", "/lib64", "/libx32",
  ]

  # What programs read under /etc. Users, groups, hosts, name servers and the bundle
  # of certificates are made afresh for each run and are not taken from the host.
  # Where people keep passwords of package registries (npmrc, pip.conf) or of the
  # machine itself is left out.
  read = [
    # The loader, and which of several programs is the default one.
    "/etc/alternatives",
    "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d",
    # Certificates and TLS, Debian's places and Red Hat's.
    "/etc/ssl/certs", "/etc/ssl/openssl.cnf",
    "/etc/ca-certificates", "/etc/ca-certificates.conf",
    "/etc/pki/ca-trust", "/etc/pki/tls/certs", "/etc/pki/tls/cert.pem", "/etc/pki/tls/openssl.cnf",
    "/etc/crypto-policies",
    # The system, its language and its clock.
    "/etc/os-release", "/etc/lsb-release", "/etc/debian_version", "/etc/redhat-release",
    "/etc/localtime", "/etc/timezone", "/etc/locale.alias", "/etc/locale.conf",
    # Tables.
    "/etc/mime.types", "/etc/magic", "/etc/magic.mime",
    "/etc/protocols", "/etc/services", "/etc/rpc", "/etc/ethertypes", "/etc/gai.conf",
    "/etc/fonts", "/etc/terminfo", "/etc/sgml", "/etc/xml", "/etc/groff", "/etc/manpath.config",
    # Shells and editors.
    "/etc/profile", "/etc/bash.bashrc", "/etc/bash_completion", "/etc/inputrc", "/etc/zsh", "/etc/nanorc", "/etc/vim",
    # Languages and tools.
    "/etc/gitconfig",
    "/etc/perl", "/etc/python3", "/etc/python3.[0-9]*", "/etc/java*",
  ]

  # Where credentials are. No rule of any profile that stands on this one opens them
  # again: credentials are given to the network gateway, never to the agent.
  deny = [
    # The machine.
    "/etc/shadow*", "/etc/gshadow*", "/etc/sudoers", "/etc/sudoers.d",
    "/etc/ssh", "/etc/ssl/private", "/etc/pki/tls/private", "/etc/krb5.keytab",
    "/etc/java*/management/jmxremote.password",
    # Sockets of services that act for you: whoever can talk to them is you, or root.
    "/run/docker.sock", "/run/docker", "/run/containerd", "/run/crio", "/run/podman", "/run/libvirt",
    "/run/dbus", "/run/user",
    # Keys.
    "~/.ssh", "~/.gnupg", "~/.pki", "~/.password-store",
    "~/.local/share/keyrings", "~/.local/share/kwalletd",
    "~/.config/sops", "~/.config/age",
    "~/.config/op", "~/.config/1Password", "~/.config/Bitwarden", "~/.config/Bitwarden CLI", "~/.config/keepassxc",
    # Clouds and clusters.
    "~/.aws", "~/.azure", "~/.oci", "~/.config/gcloud", "~/.config/doctl", "~/.config/hcloud", "~/.config/scw",
    "~/.kube", "~/.docker", "~/.config/containers/auth.json",
    "~/.config/rclone", "~/.s3cfg", "~/.boto",
    "~/.terraformrc", "~/.terraform.d/credentials.tfrc.json", "~/.vault-token", "~/.pulumi/credentials.json",
    "~/.fly", "~/.config/heroku", "~/.config/netlify", "~/.config/stripe", "~/.config/.wrangler", "~/.wrangler",
    # Code hosts.
    "~/.netrc", "~/_netrc", "~/.git-credentials", "~/.config/git/credentials",
    "~/.config/gh", "~/.config/hub", "~/.config/glab-cli", "~/.config/tea",
    # Package registries.
    "~/.npmrc", "~/.yarnrc.yml", "~/.pypirc", "~/.gem/credentials", "~/.bundle/config",
    "~/.cargo/credentials", "~/.cargo/credentials.toml",
    "~/.m2/settings.xml", "~/.m2/settings-security.xml", "~/.gradle/gradle.properties",
    "~/.nuget/NuGet/NuGet.Config", "~/.composer/auth.json", "~/.config/composer/auth.json",
    "~/.cache/huggingface/token", "~/.config/huggingface",
    # Databases.
    "~/.pgpass", "~/.my.cnf", "~/.mylogin.cnf",
    # Browsers and mail: their cookies are sessions.
    "~/.mozilla", "~/.thunderbird", "~/.config/google-chrome*", "~/.config/chromium", "~/.config/BraveSoftware",
    "~/.config/microsoft-edge*", "~/.config/vivaldi", "~/.config/opera*", "~/snap/firefox", "~/snap/chromium",
    # What was typed, passwords among it.
    "~/.*_history", "~/.local/share/fish/fish_history", "~/.python_history", "~/.node_repl_history",
    # agentjail's own: profiles decide what an agent may do, runs what is known of it.
    "~/.config/agentjail", "~/.local/state/agentjail",
  ]
}

# Language and terminal, none of it secret.
process {
  pass_env = ["LANG", "LANGUAGE", "LC_*", "TERM", "COLORTERM", "NO_COLOR", "TZ"]
}

# Only limits that need no cgroup, so that this profile runs on every host. Add
# memory, cpus and processes where yours has them.
limits {
  open_files = 4096 # Linux's own hard limit (INR_OPEN_MAX): no host has to give more
  output     = "1GiB"
}

# What is kept of a run. Name files to keep with collect = ["dist/**", "*.log"].
artifacts {
  size = "500MiB"
}

audit {
  size = "200MiB"
}
