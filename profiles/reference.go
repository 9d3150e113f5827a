package profiles

import (
	"fmt"
	"strings"
)

// Reference is docs/profile.md: every block and attribute of the language, written from
// what decodes them.
func Reference() string {
	var b strings.Builder
	b.WriteString(strings.Replace(referenceHead, "CEILINGWORDS", "`"+strings.Join(ceilingWords(), "`, `")+"`", 1))
	reference(&b, profileSchema(), nil, nil)
	return b.String()
}

const referenceHead = `# The profile language: reference

<!-- Written by "go test ./profiles -run TestReference -update" from the tables that decode
profiles. Change those (profiles/schema_table.go), not this page. -->

A profile is one HCL file, in native or in JSON syntax (` + "`NAME.json`" + `); its name is the file's. Everything is
optional. An editor that knows JSON schemas takes [profile.schema.json](profile.schema.json), which
` + "`agentjail profile schema`" + ` prints. See [profile-network.md](profile-network.md) for what requests, secrets and
budgets do, and [commands.md](commands.md) for the commands that look at profiles.

Of the rules that match, **deny beats ask beats allow; what nothing matches is denied.** Order never matters, what a profile
extends only adds rules, and nothing undoes a deny. Of single values the nearest file's counts.

| kind of value | |
| --- | --- |
| size | ` + "`\"512MiB\"`, `\"2GB\"`, `\"0\"`" + ` |
| duration | ` + "`\"90s\"`, `\"10m\"`, `\"1h30m\"`, `\"2d\"`" + ` |
| rate | ` + "`\"10/s\"`, `\"120/m\"`, `\"10/h\"`, `\"500/run\"`" + ` |
| path | absolute, or from ` + "`~/`" + `; in lists a pattern: ` + "`*` within a segment, `**` across, `?`, `[ab]`, `{a,b}`" + `; whoever names a folder means what is in it |
| host | a name, ` + "`*.example.com`" + ` (one or more labels below it), ` + "`*`" + `, an address, a CIDR; with ` + "`:port`" + ` behind it |
| any text | may use ` + "`var.NAME`" + ` and the functions ` + "`env`, `file`, `format`, `join`, `concat`, `lower`, `upper`, `regex`, `jsondecode`" + ` |

In JSON a block's labels are the keys of objects (` + "`{\"network\": {\"allow\": {\"example.com\": {}}}}`" + `), expressions stand in
` + "`\"${...}\"`" + `, and a program's arguments, which are labels in native syntax, are the attribute ` + "`args`" + `.

## The machine's ceiling

` + "`/etc/agentjail/ceiling.hcl`" + `, where there is one, applies on top of every profile: its denies and asks hold, its lists
(hosts, requests, files, variables, system calls) cap what profiles list, and of limits, sizes, counts and budgets the smaller
ones count. What it says nothing about it leaves alone; an empty list lets nothing, and a ` + "`network`" + ` block without an
` + "`allow`" + ` or ` + "`ask`" + ` only denies. A workspace lies where its user
says, also outside of those lists; ` + "`workspace { path }`" + ` is the folder that it must be in, without symlinks. Where it caps ` + "`read`" + `, what is executed or written must be in its lists too. A port of
` + "`host_port`" + ` or ` + "`publish`" + ` needs the address 127.0.0.1 and that port in it. With a budget in it, what models cost is for
it to say. It stands alone: no ` + "`extends`" + `, no variables, no ` + "`env()`" + ` or ` + "`file()`" + `, and ` + "`~`" + ` is the home folder of the system's
table of users. It belongs to root, nobody else may write to it or to the folders above it, and a run does not start where
anything about it is in doubt. ` + "`agentjail profile show`" + ` says which line of the two decides. It caps what agentjail runs for
people who use it as it is installed; who can run programs of their own without it needs no agentjail to do so.

A ceiling may say: CEILINGWORDS.
`

// reference writes a schema's section and those of its blocks.
func reference(b *strings.Builder, s schema, path []string, def *block) {
	if def != nil {
		header := def.name
		for _, l := range def.labels {
			header += " " + strings.ToUpper(strings.ReplaceAll(l, "...", "")) + strings.Repeat("...", strings.Count(l, "..."))
		}
		fmt.Fprintf(b, "\n%s `%s`\n\n%s\n", strings.Repeat("#", min(len(path)+1, 4)), strings.Join(append(path[:len(path)-1:len(path)-1], header), " › "), def.doc)
	} else {
		b.WriteString("\n## At the top\n")
	}
	if len(s.attrs) > 0 {
		b.WriteString("\n| attribute | value | without it | |\n| --- | --- | --- | --- |\n")
		for _, a := range s.attrs {
			fmt.Fprintf(b, "| `%s` | %s, `%s` | %s | %s |\n", a.name, a.kind.page(), cell(a.example), cell(a.none), cell(a.doc))
		}
	}
	for i := range s.blocks {
		inner := &s.blocks[i]
		reference(b, inner.body(), append(path[:len(path):len(path)], inner.name), inner)
	}
}

// page is a kind as the reference names it.
func (k kind) page() string {
	if len(k.words) > 0 {
		return "one of " + cell(strings.Join(quoteAll(k.words), ", "))
	}
	return cell(k.name)
}

// cell keeps a text from ending the table's cell that it stands in.
func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }
