package gate

// rule is one line of the list: paths that something on the host executes or trusts.
// A pattern is matched against the path in lower case; one without a slash matches the
// last part at any depth.
type rule struct {
	patterns []string
	why      string
	check    check // nil: the path alone is reason enough
	direct   bool  // with a check: in direct mode the path is reason enough all the same
	compared bool  // with a check: it compares, and what gate.Remember keeps is enough for it
}

// rules is the list. Each line names what reads the file; most were the way out of
// some agent's sandbox, or of an editor's trust prompt.
func rules() []rule {
	return []rule{
		// git-config(1): core.fsmonitor, core.hooksPath, core.sshCommand, filters and aliases are commands.
		{patterns: []string{".gitmodules", ".gitattributes", ".gitconfig"}, why: "git reads it, and what it names may be fetched or run"},
		{patterns: []string{"head", "config"}, why: "with it a folder is a bare git repository, whose configuration git obeys (CVE-2022-24765)", check: bareRepository},
		{patterns: []string{".husky/**", ".githooks/**", ".pre-commit-config.yaml", ".pre-commit-hooks.yaml", "lefthook.y*ml", ".lefthook/**", ".overcommit.yml", ".lintstagedrc*"}, why: "a hook manager runs it at the next commit"},

		{patterns: []string{".vscode/**", ".idea/**", "*.code-workspace", ".zed/**", ".fleet/**", ".vs/**", ".project", ".settings/**", ".sublime-project", "*.sublime-project"}, why: "an editor reads it when the folder is opened, and it can name programs to run"},
		{patterns: []string{".exrc", ".vimrc", ".nvimrc", ".nvim.lua", ".lvimrc", ".dir-locals.el", ".dir-locals-2.el", ".emacs", ".projectile"}, why: "vim or emacs executes it when a file beside it is opened"},
		{patterns: []string{".devcontainer/**", ".devcontainer.json", "compose.y*ml", "docker-compose*.y*ml", "compose.*.y*ml", "vagrantfile"}, why: "a container started from it can mount the host's folders"},

		{patterns: []string{".claude/**", "claude.md", "claude.local.md", ".claude.json", ".codex/**", ".cursor/**", ".cursorrules", ".cursorignore", ".gemini/**", "gemini.md", ".qwen/**", "qwen.md", ".opencode/**", "opencode.json*",
			".aider*", ".windsurf/**", ".windsurfrules", ".clinerules/**", ".clinerules", ".roo/**", ".roomodes", ".continue/**", ".goose/**", ".goosehints", ".kiro/**", ".amp/**", ".pi/**", ".agents/**", ".factory/**", ".junie/**", ".augment/**",
			"agents.md", "agents.override.md", "agent.md", "skill.md", "copilot-instructions.md", ".github/instructions/**", ".github/prompts/**", ".github/chatmodes/**", ".github/agents/**", ".rules", "llms.txt"}, why: "the next agent takes it for its owner's instructions or settings"},
		{patterns: []string{".mcp.json", "mcp.json", ".mcp/**", "mcp_settings.json", ".mcp.y*ml"}, why: "it names programs that an agent starts"},
		{patterns: []string{".agentjail*", ".agentjail*/**"}, why: "agentjail reads it"},

		{patterns: []string{"package.json"}, why: "package managers run its scripts", check: packageJSON, direct: true},
		{patterns: []string{".npmrc", ".yarnrc", ".yarnrc.y*ml", ".pnpmfile.cjs", ".pnpmfile.mjs", "pnpm-workspace.yaml", ".yarn/releases/**", ".yarn/plugins/**", "bunfig.toml", "deno.json*", ".bowerrc", "lerna.json"}, why: "a package manager obeys it, and it can name code to run or a registry to trust"},
		{patterns: []string{"makefile", "gnumakefile", "*.mk", "*.mak", "cmakelists.txt", "*.cmake", "cmakepresets.json", "meson.build", "configure", "configure.ac", "justfile", ".justfile", "taskfile.y*ml", "rakefile", "*.rake", "gemfile", "*.gemspec", "sconstruct", "sconscript", "wscript", "tup*file", "magefile.go", "earthfile"}, why: "a build runs what it says"},
		{patterns: []string{"build.rs", ".cargo/config", ".cargo/config.toml", "rust-toolchain", "rust-toolchain.toml"}, why: "cargo runs it, or what it names, at the next build"},
		{patterns: []string{"build.gradle", "build.gradle.kts", "settings.gradle", "settings.gradle.kts", "init.gradle*", "gradle.properties", "gradlew", "gradlew.bat", "gradle/wrapper/**", "buildsrc/**", "pom.xml", ".mvn/**", "mvnw", "mvnw.cmd", "build.sbt", "project/plugins.sbt", "build.xml", "build.sc"}, why: "a Java build runs what it says"},
		{patterns: []string{"setup.py", "setup.cfg", "noxfile.py", "tox.ini", "dodo.py", "fabfile.py", "tasks.py", "conanfile.py", "sconstruct.py"}, why: "a Python build or test runs it"},
		{patterns: []string{"pyproject.toml"}, why: "it names the build's backend and plugins", check: pyproject, direct: true},
		{patterns: []string{"conftest.py", "pytest.ini"}, why: "pytest runs it before any test"},
		{patterns: []string{"*.pth", "sitecustomize.py", "usercustomize.py", "pyvenv.cfg", "*.egg-link", "**/bin/activate*", "**/scripts/activate*", "**/bin/python*"}, why: "Python runs it whenever it starts in this environment"},
		{patterns: []string{".pypirc", "pip.conf", ".netrc", "_netrc", ".condarc", "uv.toml"}, why: "a package tool trusts the hosts and credentials in it"},
		{patterns: []string{".bazelrc", "*.bzl", "workspace.bazel", "module.bazel", "build.bazel", "buck", "targets", ".buckconfig", "pants.toml"}, why: "a build runs what it says", check: nil},
		{patterns: []string{"*.go"}, why: "go generate runs commands that a comment names", check: goGenerate},
		{patterns: []string{"*.csproj", "*.fsproj", "*.vbproj", "*.targets", "*.props", "nuget.config", "global.json", "*.sln"}, why: "a .NET build runs what it says"},
		{patterns: []string{"composer.json", "artisan", "mix.exs", "rebar.config", "dune-project", "shard.yml", "package.swift", "podfile", "*.podspec", "build.zig", "*.cabal", "stack.yaml", "dub.json", "*.nimble", "*.rockspec"}, why: "a package manager runs what it says"},

		{patterns: []string{".github/workflows/**", ".github/actions/**", "action.y*ml", ".gitlab-ci.yml", ".gitlab/ci/**", ".circleci/**", "jenkinsfile*", "azure-pipelines*.y*ml", ".travis.yml", "bitbucket-pipelines.yml", ".drone.y*ml", ".woodpecker*", ".woodpecker/**", ".buildkite/**", "appveyor.yml", ".cirrus.yml", "cloudbuild.y*ml", ".forgejo/**", ".gitea/**", ".builds/**", ".teamcity/**", "buildspec.y*ml", ".github/dependabot.yml", "renovate.json*", "codeowners"}, why: "CI runs it with the repository's own rights"},
		{patterns: []string{".envrc", ".env.local.sh", ".autoenv*", ".mise.toml", "mise.toml", ".mise/**", ".tool-versions", "flake.nix", "shell.nix", "default.nix", "devenv.nix", "devbox.json", ".prototools"}, why: "a shell or a tool manager runs it when the folder is entered"},
		{patterns: []string{".bashrc", ".bash_profile", ".bash_login", ".bash_logout", ".bash_aliases", ".profile", ".zshrc", ".zshenv", ".zprofile", ".zlogin", ".zlogout", ".cshrc", ".tcshrc", ".login", ".kshrc", ".inputrc", ".config/fish/**", ".xinitrc", ".xprofile", ".xsession", ".config/autostart/**", ".config/systemd/**", ".ssh/**", ".gnupg/**", ".tmux.conf", ".screenrc", ".gdbinit", ".lldbinit", ".wgetrc", ".curlrc"}, why: "a program reads it at its start, if this folder is somebody's home or the current one"},
		{patterns: []string{"*.desktop", "autorun.inf", "*.service", "*.timer", "*.scpt", "*.command", "*.lnk", "*.url", "*.webloc"}, why: "a desktop or the system starts what it names"},

		{patterns: []string{"package-lock.json", "npm-shrinkwrap.json", "yarn.lock", "pnpm-lock.yaml", "bun.lock", "poetry.lock", "uv.lock", "pdm.lock", "pipfile.lock", "requirements*.txt", "cargo.lock", "gemfile.lock", "composer.lock", "deno.lock", "flake.lock", "go.mod", "mix.lock", "pubspec.lock", "package.resolved"}, why: "packages would come from a host that it did not name before", check: newHosts, compared: true},
	}
}
