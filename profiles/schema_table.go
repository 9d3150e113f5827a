package profiles

// The words of the language, block by block.

func profileSchema() schema {
	return schema{
		attrs: []attr{
			{"description", textKind("sentence"), `"our web app"`, "", "What the profile is for, on one line."},
			{"extends", listKind("profiles"), `["default"]`, `["base"]`, "What it stands on: built-in profiles, profiles of yours by name, or files relative to this one. Rules add up and denies hold; of single values the nearest file's counts. An empty list stands on nothing."},
		},
		blocks: []block{
			{"variable", []string{"name"}, true, variableSchema, "A value that can be given from outside (`--var NAME=VALUE`, or `AGENTJAIL_VAR_NAME` in the environment) and is written `var.NAME` in the same file."},
			{"workspace", nil, false, workspaceSchema, "The tree that the agent works on."},
			{"files", nil, false, filesSchema, "What the jail sees of the host beside the workspace. `deny` wins over the rest."},
			{"network", nil, false, networkSchema, "What the jail may reach. Of the rules that match, deny beats ask beats allow; what nothing matches is denied."},
			{"secret", []string{"name"}, true, secretSchema, "A credential that is put into requests and that the jail never holds. Exactly one of `env`, `file`, `command` and one of `header`, `query`, `basic`, `aws`; `like` fills in what is usual."},
			{"price", []string{"model"}, true, priceSchema, "What a model costs, over the prices that come with agentjail. In the label, `*` is any characters; the pattern that writes out the most counts."},
			{"budget", []string{"name"}, true, budgetSchema, "What may be spent of something, by `spend` of request rules. Of several blocks about one budget, in files that extend each other, the stricter amount counts."},
			{"process", nil, false, processSchema, "The agent's environment, and the programs that it starts."},
			{"syscalls", nil, false, syscallsSchema, "System calls opened beyond the base allowlist."},
			{"ssh_agent", nil, false, sshAgentSchema, "Signatures of some keys of your SSH agent."},
			{"limits", nil, true, limitsSchema, "What the run may use. Several blocks may differ in `enforce`."},
			{"artifacts", nil, false, artifactsSchema, "What is kept of a run."},
			{"apply", nil, false, applySchema, "What of the changes the host gets only when somebody names it, beside and despite the built-in list."},
			{"audit", nil, false, auditSchema, "The trail."},
			{"approval", nil, false, approvalSchema, "How people are asked, where a rule asks."},
			{"on", []string{"event"}, true, onSchema, "What is done when something happens: `escape`, `anomaly`, `limit` or `budget`."},
			{"test", []string{"name"}, true, testSchema, "A question and the answer that the profile must give; `agentjail profile test` tries them. Exactly one of `connect`, `resolve`, `request`, `read`, `write`, `exec`, `start`."},
		},
	}
}

func variableSchema() schema {
	return schema{attrs: []attr{
		{"default", anyKind("value"), `"issues.example.com"`, "a value must be given", "The value where none is given from outside; a given one is converted to its type."},
	}}
}

func workspaceSchema() schema {
	return schema{attrs: []attr{
		{"path", textKind("path"), `"."`, "the folder that agentjail is started in", "The folder; it has the same absolute path in the jail."},
		{"mode", choiceKind("overlay", "direct", "readonly", "empty"), `"overlay"`, `"overlay"`, "`overlay`: the host's files never change, changes are kept apart. `direct`: changes reach the host at once, but for what it executes or trusts, which stays as it is. `readonly`: nothing can be changed. `empty`: an empty folder in memory."},
		{"hide", listKind("patterns"), `[".env", "secrets/**"]`, "", "What does not exist in the jail, relative to the workspace; with mode direct or readonly it is empty and can't be read or changed."},
		{"size", textKind("size"), `"2GiB"`, `"2GiB"`, "How much the agent may add."},
		{"files", numberKind("whole number"), "100000", "500000", "How many files and folders the agent may add."},
		{"upper", choiceKind("auto", "memory", "disk"), `"auto"`, `"auto"`, "Where an overlay keeps what the agent writes. `auto`: memory, or disk where the kernel can't do it in memory."},
	}}
}

func filesSchema() schema {
	return schema{
		attrs: []attr{
			{"read", listKind("paths"), `["/opt/toolchain"]`, "", "What may be read. A folder means all that is in it."},
			{"write", listKind("paths"), `["/var/tmp/build"]`, "", "What may be read and written."},
			{"exec", listKind("paths"), `["/opt/toolchain/bin"]`, "", "What may be read and executed."},
			{"deny", listKind("paths"), `["~/.ssh"]`, "", "What is not there whatever else is allowed."},
		},
		blocks: []block{
			{"home", []string{"path"}, true, homeSchema, "A file or folder that the fresh home folder begins with. The label is its place, relative to the home folder."},
			{"limit", []string{"action"}, true, fileLimitSchema, "How often the agent may do something with files; the one action is `delete`."},
		},
	}
}

func homeSchema() schema {
	return schema{attrs: []attr{
		{"from", textKind("path"), `"~/.npm"`, "the same place in your home folder", "What is shown there."},
		{"redact", flagKind(), "true", "false", "Makes a copy without what looks like a credential, by its name (`API_KEY`, `Authorization`) in JSON, TOML and YAML and by its form in every text. A file that can't be understood is left out. What was left out is said at the start and in the trail, by its name alone."},
		{"mode", choiceKind("copy", "overlay", "readonly"), `"overlay"`, "`\"readonly\"`, with `redact` `\"copy\"`", "`copy`: a copy, made at the start. `overlay`: yours below, and what the agent changes in memory. `readonly`: yours, and nothing can be changed. Yours never changes."},
	}}
}

func fileLimitSchema() schema {
	return schema{attrs: []attr{
		{"rate", textKind("rate"), `"100/m"`, "must be there", "How often."},
	}}
}

func networkSchema() schema {
	return schema{
		blocks: []block{
			{"allow", []string{"host"}, true, allowSchema, "A host that may be connected to: a name, `*.example.com` (one or more labels below), `*`, an address or a CIDR, with `:port` behind it. With `hosts`, the label is a word of your own."},
			{"ask", []string{"host"}, true, askSchema, "A host about which a person is asked each time, also where an allow matches too."},
			{"deny", []string{"host"}, true, denySchema, "A host that may not be connected to, whatever is allowed."},
			{"host_port", []string{"port"}, true, portRuleSchema, "A TCP port of the host's 127.0.0.1 that is the same port of the jail's."},
			{"publish", []string{"port"}, true, portRuleSchema, "A TCP port of the jail that is one of the host's 127.0.0.1: `\"3000\"`, or `\"8080:3000\"` for the host's 8080."},
		},
	}
}

func portRuleSchema() schema {
	return schema{attrs: []attr{
		{"reason", textKind("sentence"), `"the database"`, "", "Why, for people and agents."},
		{"limit", textKind("rate"), `"100/h"`, "", "Connections."},
		{"upload", textKind("size"), `"50MiB"`, "", "Bytes out of the jail in the whole run."},
		{"download", textKind("size"), `"2GiB"`, "", "Bytes into the jail in the whole run."},
		{"connections", numberKind("whole number"), "8", "", "Connections at once."},
	}}
}

func allowSchema() schema {
	return schema{
		attrs: []attr{
			{"hosts", listKind("hosts"), `["example.com", "*.example.net"]`, "the label", "The hosts of the rule."},
			{"ports", listKind("ports"), "[443]", "443", "The ports of the rule."},
			{"protocol", choiceKind("tls", "http", "ssh", "tcp", "udp"), `"tls"`, "`http` on 80, `ssh` on 22, else `tls`", "What may be spoken there; `tcp` is anything, and `udp` is UDP, whose ports the rule names."},
			{"upstream", textKind("host:port"), `"127.0.0.1:8443"`, "the host", "What is dialled in place of the host."},
			{"upstream_ca", textKind("path"), `"ca.pem"`, "the host's roots", "PEM file of the certificates that vouch for the upstream."},
			{"reason", textKind("sentence"), `"issues"`, "", "Why, for people and agents."},
			{"approved", flagKind(), "true", "false", "A person said yes for good: no `ask` of profiles is about it any more. `agentjail approve --always` writes it."},
			{"secret", anyKind("secret.NAME or a list of them"), "secret.a", "", "Credentials that the hosts may get."},
			{"like", choiceKind(readyNames()...), `"anthropic"`, "", "A service of the ready list: its provider and, where the label is its name, its hosts. `agentjail profile providers` lists them."},
			{"provider", choiceKind(providerWords()...), `"anthropic"`, "", "How the answers tell what a call of a model used; each is in the trail, and counts for the budgets `model` and `tokens`."},
			{"limit", textKind("rate"), `"300/m"`, "", "Requests of each host; on `ssh`, `tcp` and `udp`, connections."},
			{"upload", textKind("size"), `"50MiB"`, "", "Bytes to each host in the whole run."},
			{"download", textKind("size"), `"2GiB"`, "", "Bytes from each host in the whole run."},
			{"connections", numberKind("whole number"), "8", "", "Connections to each host at once."},
			{"sanitize", choiceKind("html"), `"html"`, "", "Takes out of the hosts' HTML answers what a reader of the page would not see."},
		},
		blocks: []block{
			{"request", []string{"method", "path"}, true, requestSchema, "A request that may be made; all others are then refused. Several methods are written `\"GET|HEAD\"`, every one `\"*\"`. In the path, `*` is within a segment and `**` any number of segments."},
			{"fault", []string{"kind"}, true, faultSchema, "Makes a share of the requests go wrong on purpose: `status` (the gateway answers in the host's place), `delay`, `reset` (no answer), `truncate` (the answer is cut off)."},
		},
	}
}

func faultSchema() schema {
	return schema{attrs: []attr{
		{"rate", numberKind("number above 0 and up to 1"), "1/10", "it must be there", "The share of the requests that it is for."},
		{"seed", numberKind("whole number"), "1", "another one in each run", "With it, the same requests meet the fault in each run."},
		{"status", numberKind("whole number"), "503", "", "Of `status`: the answer's status, 200 to 599."},
		{"body", textKind("text"), `"{\"error\": \"overloaded\"}"`, "the status in words", "Of `status`: the answer's body."},
		{"delay", textKind("duration"), `"2s"`, "", "Of `delay`: how long before the host is asked."},
		{"after", textKind("size"), `"1KiB"`, "", "Of `truncate`: how much of the answer's body comes through."},
	}}
}

func requestSchema() schema {
	return schema{
		attrs: []attr{
			{"when", anyKind("condition"), `request.body.project == "web"`, "", "An expression over `request.method`, `host`, `path`, `query`, `headers` and `body`; the rule holds only where it is true."},
			{"limit", textKind("rate"), `"10/h"`, "", "How often, of each host."},
			{"spend", anyKind("object of budgets and amounts"), `{ payments = request.body.amount / 100 }`, "", "What the request spends: an amount over `request`, one over `response` (`status`, `headers`, `body`) too, or a list of both."},
			{"ask", flagKind(), "true", "false", "A person is asked about each such request; the most specific rule that matches says whether."},
			{"reason", textKind("sentence"), `"the agent may file issues"`, "", "Why, for people and agents."},
		},
	}
}

func budgetSchema() schema {
	return schema{attrs: []attr{
		{"unit", textKind("unit"), `"usd"`, "", "What is counted: a currency, tokens, mails."},
		{LimitEach, numberKind("amount"), "50", "", "The most that one request may spend."},
		{LimitPerRun, numberKind("amount"), "5", "", "The most of one run."},
		{LimitPerDay, numberKind("amount"), "40", "", "The most of all your runs of a day (UTC)."},
		{LimitPerWeek, numberKind("amount"), "500", "", "The most of all your runs of a week (from Monday, UTC)."},
		{LimitAskAbove, numberKind("amount"), "20", "", "One spend above this is for a person to decide."},
	}}
}

func secretSchema() schema {
	return schema{blocks: []block{
		{"aws", nil, false, awsSchema, "Makes the secret an AWS secret access key, which signs requests (Signature Version 4) and is not sent. In place of `header`, `query` and `basic`."},
	}, attrs: []attr{
		{"like", choiceKind(readyNames()...), `"anthropic"`, "", "A service of the ready list: it says the variable, the header and how the value looks."},
		{"env", textKind("variable"), `"API_KEY"`, "", "The caller's variable that holds the value."},
		{"file", textKind("path"), `"~/.config/app/key"`, "", "The file that holds it, without its last line end."},
		{"command", listKind("words"), `["pass", "show", "app"]`, "", "The program that prints it on its first line; no shell."},
		{"variable", textKind("variable"), `"API_KEY"`, "the name in `env`", "The variable that holds the placeholder in the jail."},
		{"header", textKind("header"), `"x-api-key"`, "", "The header that carries the credential."},
		{"format", textKind("text"), `"Bearer %s"`, `"%s"`, "How the header's value is written by `inject`."},
		{"query", textKind("parameter"), `"key"`, "", "The query parameter that carries it."},
		{"basic", textKind("user name"), `"x-access-token"`, "", "HTTP basic authentication with this user name."},
		{"inject", flagKind(), "true", "false", "Put it into every request to the hosts, also into those that have no placeholder."},
		{"optional", flagKind(), "true", "false", "Where the variable is not set, or the file is not there, the run begins without it: the jail has no placeholder, and an `allow` that names it and no other secret that is there lets nothing."},
	}}
}

func awsSchema() schema {
	return schema{attrs: []attr{
		{"access_key_env", textKind("variable"), `"AWS_ACCESS_KEY_ID"`, `"AWS_ACCESS_KEY_ID"`, "The caller's variable that holds the access key ID; in the jail it holds a placeholder."},
		{"session_token_env", textKind("variable"), `"AWS_SESSION_TOKEN"`, "there is no session token", "The same of the session token of temporary credentials."},
	}}
}

func denySchema() schema {
	return schema{attrs: []attr{
		{"hosts", listKind("hosts"), `["example.com"]`, "the label", "The hosts of the rule."},
		{"ports", listKind("ports"), "[25]", "every port", "The ports of the rule."},
		{"reason", textKind("sentence"), `"exfiltration"`, "", "Why, for people and agents."},
	}}
}

func askSchema() schema {
	return schema{attrs: []attr{
		{"hosts", listKind("hosts"), `["example.com"]`, "the label", "The hosts of the rule."},
		{"ports", listKind("ports"), "[443]", "443", "The ports of the rule."},
		{"protocol", choiceKind("tls", "http", "ssh", "tcp"), `"tls"`, "`http` on 80, `ssh` on 22, else `tls`", "What may be spoken there once it is granted."},
		{"reason", textKind("sentence"), `"a person decides"`, "", "Why, for people and agents."},
	}}
}

func processSchema() schema {
	return schema{
		attrs: []attr{
			{"pass_env", listKind("variables"), `["LANG", "LC_*"]`, "", "Variables of the caller's environment that are passed on."},
			{"env", objectKind("names and values"), `{ CI = "1" }`, "", "Variables that are set."},
			{"exec_new", choiceKind("allow", "ask", "deny"), `"deny"`, `"allow"`, "What becomes of a program that the agent wrote itself."},
			{"terminal", choiceKind("filter", "pass"), `"filter"`, `"filter"`, "What the agent writes to your terminal. `filter`: without what acts beyond the screen (clipboard, title, links, printer) and what the terminal would answer. `pass`: as it is. Output to a pipe or a file is never changed. See terminal.md."},
		},
		blocks: []block{
			{"deny", programLabels(), true, execDenySchema, "A program that is not started: a file name or an absolute path, then leading arguments."},
			{"ask", programLabels(), true, execDenySchema, "A program about which a person is asked each time."},
			{"limit", programLabels(), true, execLimitSchema, "How often a program is started."},
			{"approved", programLabels(), true, execDenySchema, "A program with exactly these arguments that no `ask` is about any more: an absolute path, without symbolic links, that the agent can't write to. `agentjail approve --always` writes it."},
		},
	}
}

// programLabels are a program and any number of leading arguments. JSON has one label
// and the attribute `args`.
func programLabels() []string { return []string{"program", "argument..."} }

func execDenySchema() schema {
	return schema{attrs: []attr{
		{"args", listKind("words"), `["push"]`, "the labels behind the first", "Leading arguments, in place of labels."},
		{"reason", textKind("sentence"), `"no escalation"`, "", "Why, for people and agents."},
	}}
}

func execLimitSchema() schema {
	return schema{attrs: []attr{
		{"args", listKind("words"), `["push"]`, "the labels behind the first", "Leading arguments, in place of labels."},
		{"rate", textKind("rate"), `"2/m"`, "must be there", "How often."},
		{"reason", textKind("sentence"), `"no polling"`, "", "Why, for people and agents."},
	}}
}

func syscallsSchema() schema {
	return schema{attrs: []attr{
		{"allow", listKind("system calls"), `["@ptrace"]`, "", "Single calls, or named groups with an `@`."},
	}}
}

func limitsSchema() schema {
	return schema{attrs: []attr{
		{"memory", textKind("size"), `"4GiB"`, "", "Memory of the whole jail; swap is off."},
		{"cpus", numberKind("number"), "2", "", "CPUs; 0.5 is half of one."},
		{"processes", numberKind("whole number"), "512", "", "Processes and threads at once."},
		{"open_files", numberKind("whole number"), "4096", "", "Open descriptors of one process."},
		{"time", textKind("duration"), `"1h"`, "", "Wall time of the run."},
		{"idle", textKind("duration"), `"10m"`, "", "Time without output and without CPU use."},
		{"output", textKind("size"), `"100MiB"`, "", "Bytes of standard output and error together."},
		{"io_weight", numberKind("whole number"), "50", "", "Share of a busy disk, from 10 to 1000; everybody else has 100."},
		{"enforce", choiceKind("strict", "best-effort"), `"strict"`, `"strict"`, "`strict`: a limit that the host can't enforce refuses the run. `best-effort`: rlimits and sampling stand in, and the trail says so."},
	}}
}

func artifactsSchema() schema {
	return schema{attrs: []attr{
		{"collect", listKind("patterns"), `["dist/**", "*.log"]`, "", "Files that are kept, relative to the workspace."},
		{"size", textKind("size"), `"500MiB"`, `"500MiB"`, "How much in all."},
	}}
}

func auditSchema() schema {
	return schema{
		attrs: []attr{
			{"size", textKind("size"), `"200MiB"`, `"200MiB"`, "How large the trail may grow; reaching it ends the run."},
			{"otlp", textKind("URL"), `"http://127.0.0.1:4318"`, "", "A collector that gets the same events."},
		},
	}
}

func approvalSchema() schema {
	return schema{blocks: []block{
		{"webhook", []string{"url"}, false, approvalWebhookSchema, "A URL that is asked too (https, or http on 127.0.0.1), and whose answer, signed with the key, counts as one person's. See approvals.md."},
	}, attrs: []attr{
		{"timeout", textKind("duration"), `"2m"`, `"2m"`, "How long an answer is waited for; no answer is a no."},
		{"notify", listKind("ways"), `["desktop"]`, "", "How people are told: `desktop`."},
		{"quorum", numberKind("whole number"), "2", "1", "How many people must say yes."},
		{"extend", textKind("duration"), `"30m"`, "", "How much more time people are asked for when `limits.time` is up in `timeout`; each yes gives it once. Without it the limit ends the run."},
	}}
}

func approvalWebhookSchema() schema {
	return schema{attrs: []attr{
		{"env", textKind("variable"), `"APPROVAL_KEY"`, "", "The caller's variable that holds the key."},
		{"file", textKind("path"), `"~/.config/approval-key"`, "", "The file that holds it, without its last line end."},
		{"command", listKind("words"), `["pass", "show", "approval"]`, "", "The program that prints it on its first line; no shell."},
	}}
}

func onSchema() schema {
	return schema{attrs: []attr{
		{"action", choiceKind("log", "pause", "stop", "kill", "freeze"), `"stop"`, "`log` where there is a command or a webhook", "What becomes of the run."},
		{"command", listKind("words"), `["logger", "agentjail"]`, "", "A program of the host that gets the event on its standard input; no shell."},
		{"webhook", textKind("URL"), `"https://hooks.example.com/x"`, "", "A URL that the event is posted to."},
		{"after", textKind("duration"), `"5m"`, `"5m"`, "Of `anomaly`: how long a run is watched before its rates are judged, and how long something has to go on at regular intervals. All other times of the monitor are parts of it."},
		{"repeats", numberKind("executions"), `20000`, `50000`, "Of `anomaly`: how often one program may be executed in a run."},
	}}
}

func testSchema() schema {
	return schema{attrs: []attr{
		{"connect", textKind("host:port"), `"gist.github.com:443"`, "", "A connection."},
		{"resolve", textKind("host"), `"gist.github.com"`, "", "A question to the jail's DNS."},
		{"request", listKind("method and URL"), `["GET", "https://example.com/x"]`, "", "A request."},
		{"headers", objectKind("names and values"), `{ accept = "text/html" }`, "", "Headers of the request."},
		{"body", anyKind("value"), `{ project = "web" }`, "", "Body of the request: a string as it is, anything else as JSON."},
		{"read", textKind("path"), `"/etc/hostname"`, "", "Reading a file outside the workspace."},
		{"write", textKind("path"), `"/etc/hostname"`, "", "Writing a file outside the workspace."},
		{"exec", textKind("path"), `"/usr/bin/env"`, "", "Executing a file outside the workspace."},
		{"start", listKind("words"), `["/usr/bin/git", "push"]`, "", "Starting a program with arguments, as the rules of `process` see it."},
		{"expect", choiceKind("allow", "ask", "deny"), `"deny"`, "must be there", "The answer."},
	}}
}
