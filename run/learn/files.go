package learn

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/agentjail/agentjail/profiles"
)

// siblings is how many have to be seen before what they have in common is granted.
const siblings = 3

// files sorts what was refused into grants and questions.
func (d *drafter) files(files []File) {
	wanted := map[string]map[string]*tally{"read": {}, "write": {}, "exec": {}, "home": {}}
	missing := map[string]bool{}
	for _, f := range files {
		list, value := d.file(f)
		if list == "" {
			continue
		}
		missing[value] = missing[value] || list == "write" && f.Kind == KindNone
		if wanted[list][value] == nil {
			wanted[list][value] = &tally{}
		}
		wanted[list][value].add(f.Count, f.By)
	}
	for _, g := range d.widen("write", wanted["write"], d.shared) {
		if !missing[g.Value] {
			d.p.Write = append(d.p.Write, g)
			continue
		}
		// A rule is about what is there: to make a file is to write to its folder.
		rule := ""
		if dir := path.Dir(g.Value); !d.shared(dir) && d.hostTrusts(dir) == "" {
			rule = quoted("write", dir)
		}
		d.ask("create "+pathText(g.Value), g.Why+"; a new file needs its folder, with all that is in it", rule)
	}
	d.p.Exec = d.widen("exec", wanted["exec"], d.shared)
	for value := range wanted["read"] {
		if coveredBy(slices.Concat(d.p.Exec, d.p.Write), value) {
			delete(wanted["read"], value)
		}
	}
	d.p.Read = d.widen("read", wanted["read"], d.shared)
	d.p.Home = d.widen("home", wanted["home"], sharedInHome)
	sortGrants(d.p.Deny)
	d.askFolders()
}

// askFolders asks about the folders that were looked at or listed: to give one is to
// give all that is in it. One that a grant shows anyway, or part of, is no question.
func (d *drafter) askFolders() {
	granted := slices.Concat(d.p.Exec, d.p.Write, d.p.Read)
	for _, f := range d.folders {
		list, value, grants := "read", f.Path, granted
		if f.Home != "" {
			list, value, grants = "home", f.Home, d.p.Home
		}
		shown := coveredBy(grants, value) || f.Use == Look && slices.ContainsFunc(grants, func(g Grant) bool { return within(g.Value, value) })
		if shown || f.Home == "" && (within(d.place.Home, value) || within(d.place.Workspace, value)) {
			continue
		}
		rule := quoted(list, value)
		if f.Home == "" && d.shared(value) || f.Home != "" && sharedInHome(value) {
			rule = ""
		}
		d.ask(fmt.Sprintf("%s %s", f.Use, pathText(f.Path)), times(f.Count, f.By)+"; a folder: to give it is to give all that is in it", rule)
	}
}

// file decides about one path: the list that it goes to, and as what.
func (d *drafter) file(f File) (list, value string) {
	what := fmt.Sprintf("%s %s", f.Use, pathText(f.Path))
	who := times(f.Count, f.By)
	list, value = map[Use]string{Look: "read", Read: "read", Write: "write", Create: "write", Exec: "exec"}[f.Use], f.Path
	if f.Home != "" && list == "read" {
		list, value = "home", f.Home
		what += " (as " + pathText(path.Join("~", f.Home)) + ")"
	}
	refuse := func(why string, rule string) (string, string) {
		d.ask(what, who+"; "+why, rule)
		return "", ""
	}
	for _, p := range []string{f.Path, f.Real} {
		if v := d.base.Files.Decide(p, profiles.OpRead); v.Rule.Pattern != "" && v.Action == profiles.Deny {
			return refuse("denied by "+v.Rule.Origin.String()+", which holds against every other rule", "")
		}
	}
	ops := map[string]profiles.Op{"read": profiles.OpRead, "write": profiles.OpWrite, "exec": profiles.OpExec}
	if op, ok := ops[list]; ok && f.Rule == "" && d.base.Files.Decide(f.Path, op).Action == profiles.Allow {
		return refuse("a rule allows it already, and the jail does not show it", "")
	}
	switch {
	case f.Rule != "":
		return refuse("hidden by "+f.Rule, "")
	case f.Kind == KindSocket || f.Use == Connect:
		return refuse("a Unix socket: whoever listens on it acts for you", "")
	case f.Kind == KindOther || within(f.Real, "/dev") || within(f.Real, "/proc"):
		return refuse("the kernel's: no jail has it", "")
	case within(f.Real, "/sys"):
		return refuse("the kernel's", quoted("read", f.Path))
	}
	for _, p := range []string{f.Path, f.Real, f.Home} {
		if IsSecret(p) {
			return refuse("it looks like a credential", "")
		}
	}
	if why := plain(value); why != "" {
		return refuse(why, "")
	}
	if list == "write" {
		return d.written(f, refuse)
	}
	switch {
	case f.Kind == KindFolder:
		d.folders = append(d.folders, f)
		return "", ""
	case f.Kind != KindFile || list == "":
		return "", "" // it is not there any more
	}
	return list, value
}

// written decides about a path that was to be changed: the host's own file would be.
func (d *drafter) written(f File, refuse func(why, rule string) (string, string)) (string, string) {
	for _, p := range []string{f.Path, f.Real} {
		if why := d.hostTrusts(p); why != "" {
			return refuse(why, "")
		}
	}
	if f.Kind == KindFolder {
		return refuse("a folder: to give it is to give all that is in it", quoted("write", f.Path))
	}
	return "write", f.Path
}

// hostTrusts says why nothing learned may be written to a place: the host runs or obeys
// what lies there.
func (d *drafter) hostTrusts(p string) string {
	if what, ok := profiles.HostExecutes(p, d.place.Home); ok {
		return "not to be written: " + what
	}
	for _, dir := range []string{"/bin", "/boot", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/opt", "/root", "/run", "/sbin", "/sys", "/usr", "/var/lib", "/var/spool", "/var/run"} {
		if within(p, dir) && !within(d.place.Home, dir) {
			return "not to be written: it belongs to the system"
		}
	}
	if rel, ok := strings.CutPrefix(p, d.place.Home+"/"); ok && d.place.Home != "" && strings.HasPrefix(rel, ".") {
		return "not to be written: programs of the host obey what is in the dot files of your home folder"
	}
	return ""
}

// widen grants the folder where there are siblings in it, again and again. A new file
// has no grant of its own.
func (d *drafter) widen(list string, wanted map[string]*tally, shared func(string) bool) []Grant {
	note := map[string]string{}
	for {
		folders := map[string][]string{}
		for p := range wanted {
			folders[path.Dir(p)] = append(folders[path.Dir(p)], p)
		}
		grown := false
		// The deepest first, so that what is said of a folder counts what was seen in it.
		for _, dir := range slices.SortedFunc(maps.Keys(folders), func(a, b string) int {
			if n := strings.Count(b, "/") - strings.Count(a, "/"); n != 0 {
				return n
			}
			return strings.Compare(a, b)
		}) {
			kids := folders[dir]
			if len(kids) < siblings || shared(dir) || wanted[dir] != nil {
				continue
			}
			if !d.clean(list, dir) {
				continue
			}
			sum := &tally{}
			slices.Sort(kids)
			for _, k := range kids {
				sum.add(wanted[k].count, wanted[k].by)
				delete(wanted, k)
				delete(note, k)
			}
			wanted[dir], grown = sum, true
			note[dir] = fmt.Sprintf("%d in it, ", len(kids))
			break // the map of folders is another one now
		}
		if !grown {
			break
		}
	}
	var grants []Grant
	for p, t := range wanted {
		// A folder that was granted covers what is deeper in it.
		if slices.ContainsFunc(slices.Collect(maps.Keys(wanted)), func(o string) bool { return o != p && within(p, o) }) {
			continue
		}
		grants = append(grants, Grant{p, note[p] + t.String()})
	}
	sortGrants(grants)
	return d.bounded(grants)
}

// maxSecrets is how many credentials a folder may hold, each with a deny of its own,
// for it to be granted.
const maxSecrets = 20

// clean says whether a folder may be granted, and denies the credentials in it.
func (d *drafter) clean(list, dir string) bool {
	if plain(dir) != "" {
		return false
	}
	abs := dir
	if list == "home" {
		abs = path.Join(d.place.Home, dir)
	}
	if v := d.base.Files.Decide(abs, profiles.OpRead); v.Rule.Pattern != "" && v.Action == profiles.Deny {
		return false
	}
	if list == "write" && d.hostTrusts(abs) != "" {
		return false
	}
	secrets, complete := d.place.Inside(abs)
	if !complete || len(secrets) > maxSecrets || slices.ContainsFunc(secrets, func(s string) bool { return plain(s) != "" }) {
		return false
	}
	for _, s := range secrets {
		if !slices.ContainsFunc(d.p.Deny, func(g Grant) bool { return g.Value == s }) {
			d.p.Deny = append(d.p.Deny, Grant{s, "looks like a credential"})
		}
	}
	return true
}

// shared says whether a folder holds what belongs to many: it is never granted whole.
func (d *drafter) shared(dir string) bool {
	if strings.Count(dir, "/") < 2 || within(d.place.Home, dir) || within(d.place.Workspace, dir) {
		return true
	}
	if rel, ok := strings.CutPrefix(dir, d.place.Home+"/"); ok && sharedInHome(rel) {
		return true
	}
	switch path.Dir(dir) {
	case "/var", "/home", "/run", "/mnt", "/media", "/usr", "/etc", "/sys", "/dev", "/proc":
		return true
	}
	return within(dir, "/run/user") && strings.Count(dir, "/") < 4
}

func sharedInHome(rel string) bool {
	switch rel {
	case "", ".", ".config", ".local", ".local/share", ".local/state", ".local/lib", ".cache", "snap", ".var", ".var/app":
		return true
	}
	return false
}

// plain says why a name is not one that a rule can be learned about; "" where it is.
// What a person can't see, or reads as another name, is no base for a decision.
func plain(p string) string {
	switch {
	case !utf8.ValidString(p):
		return "its name is not valid UTF-8"
	case !norm.NFC.IsNormalString(p): // HCL's strings are; another file would be meant
		return "its name is not in Unicode's normal form C"
	case strings.ContainsAny(p, "*?[]{}\\"):
		return "its name has characters that mean something in a pattern"
	case strings.HasPrefix(p, "~") || strings.Contains(p, "/~"):
		return "its name begins with \"~\""
	case strings.ContainsFunc(p, func(r rune) bool { return !unicode.IsPrint(r) }):
		return "its name has characters that can't be seen"
	case path.Clean(p) != p:
		return "its name is another spelling of a path"
	case len(p) > 1024:
		return "its name is too long"
	}
	return ""
}

// pathText is a path for a sentence: whatever could pass for more of the sentence is
// in quotes.
func pathText(p string) string {
	odd := func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("/._+@-~=", r)
	}
	if strings.ContainsFunc(p, odd) {
		return strconv.Quote(p)
	}
	return p
}

func within(p, dir string) bool {
	return dir != "" && (p == dir || dir == "/" || strings.HasPrefix(p, dir+"/"))
}

func coveredBy(grants []Grant, p string) bool {
	return slices.ContainsFunc(grants, func(g Grant) bool { return within(p, g.Value) })
}

// quoted is the line of `files` that grants a path; "" where it can't be written.
func quoted(list, value string) string {
	switch {
	case list == "" || plain(value) != "":
		return ""
	case list == "home":
		return "home " + hclString(value) + " {}"
	}
	return list + " = [" + hclString(value) + "]"
}

// hclString is a string as HCL writes it.
func hclString(s string) string {
	if strings.ContainsAny(s, "$%") {
		s = strings.NewReplacer("${", "$${", "%{", "%%{").Replace(s)
	}
	return strconv.Quote(s)
}
