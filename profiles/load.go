package profiles

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/hashicorp/hcl/v2/json"
	"golang.org/x/text/unicode/norm"
)

// Options is what loading needs to know of the host. Functions that are nil answer
// nothing: no variable is set, no file exists.
type Options struct {
	Home     string                            // the caller's home, for "~"
	Cwd      string                            // absolute; what relative paths of the command line and of `workspace` start from
	Env      func(name string) (string, bool)  // for env()
	ReadFile func(path string) ([]byte, error) // absolute paths; fs.ErrNotExist where nothing is there
	ListDir  func(dir string) (names []string) // for List and for suggesting a name; errors are no names
	Dirs     []string                          // folders of NAME.hcl, the first wins: the user's, then the machine's
	Vars     map[string]string                 // values for `variable` blocks, in place of their defaults
}

const (
	// maxSource keeps a file that was named by mistake from being parsed.
	maxSource = 256 << 10
	// maxDepth ends chains of `extends` that a file system with loops makes endless.
	maxDepth = 32
)

func (o *Options) read(path string) ([]byte, error) {
	if o.ReadFile == nil {
		return nil, fmt.Errorf("%s: %w", path, fs.ErrNotExist)
	}
	b, err := o.ReadFile(path)
	if err == nil && len(b) > maxSource {
		return nil, fmt.Errorf("%s is larger than %s", path, FormatSize(maxSource))
	}
	return b, err
}

// file is one profile file on its way to a layer.
type file struct {
	name    string // as diagnostics and origins name it
	base    string // the profile's name: its file's, without the extension
	path    string // absolute; "built-in" for a built-in
	builtin bool
	dir     int // index in Options.Dirs; -1 where it was named by its path
	src     []byte
}

const builtinPath = "built-in"

// key is what makes two files the same one.
func (f *file) key() string {
	if f.builtin {
		return builtinKey(f.base)
	}
	return f.path
}

func builtinKey(name string) string { return builtinPath + ":" + name }

// Load finds a profile, resolves what it extends and returns the result, or every
// mistake in it. name is a path (it has a "/", or ends in .hcl or .json), or the name
// of a profile in one of o.Dirs, or the name of a built-in one, in this order. The
// Spec is nil when the diagnostics have errors. The files are those that were read,
// by the name that diagnostics give them, for Render.
func Load(name string, o Options) (*Spec, hcl.Diagnostics, map[string]*hcl.File) {
	l := &loader{o: &o, parsed: map[string]*hcl.File{}, state: map[string]visit{}, declared: map[string]bool{}}
	top := l.find(name, nil, nil)
	if top != nil {
		l.visit(top, nil, nil)
		l.unusedVars()
		l.secretsKnown()
		l.optionalPlain()
		l.budgetsKnown()
	}
	sortDiagnostics(l.diags, l.files)
	if l.diags.HasErrors() {
		return nil, l.diags, l.parsed
	}
	spec := resolve(top, l.layers, l.files, &o)
	if !filepath.IsAbs(spec.Workspace.Path) {
		l.fail(nil, "No workspace", "The folder that agentjail was started in is not known, and the profile names no other one: write path = \"...\" in the workspace block.")
		return nil, l.diags, l.parsed
	}
	if l.socketCounts(spec); l.diags.HasErrors() {
		return nil, l.diags, l.parsed
	}
	l.lint(spec)
	sortDiagnostics(l.diags, l.files)
	return spec, l.diags, l.parsed
}

type visit int

const (
	visiting visit = iota + 1
	visited
)

type loader struct {
	o        *Options
	diags    hcl.Diagnostics
	parsed   map[string]*hcl.File // by display name
	files    []*file              // in the order they were read
	layers   []*layer             // a file comes after all that it extends
	bindings []binding            // of secrets to hosts

	budgetUses []budgetUse
	state      map[string]visit // by key
	declared   map[string]bool  // variables of any file
}

func (l *loader) fail(rng *hcl.Range, summary, detail string) {
	l.diags = append(l.diags, &hcl.Diagnostic{Severity: hcl.DiagError, Summary: summary, Detail: detail, Subject: rng})
}

func isPath(name string) bool {
	return strings.Contains(name, "/") || strings.HasSuffix(name, ".hcl") || strings.HasSuffix(name, ".json")
}

// find reads the file that a name means, on the command line (from is nil) or in the
// `extends` of another file.
func (l *loader) find(name string, from *file, rng *hcl.Range) *file {
	if err := checkProfileName(name); err != nil {
		l.fail(rng, "Wrong profile name", sentence(err.Error()))
		return nil
	}
	// What is built in is the same on every machine: no file shadows what it extends.
	builtinOnly := from != nil && from.builtin
	if isPath(name) && !builtinOnly {
		return l.findPath(name, from, rng)
	}
	for i, dir := range l.o.Dirs {
		// A profile that shadows another one and extends it by its own name means
		// the one behind it, not itself.
		if builtinOnly || from != nil && from.base == name && i <= from.dir {
			continue
		}
		path := filepath.Join(dir, name+".hcl")
		if from != nil && from.path == path {
			continue
		}
		src, err := l.o.read(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil { // never the next place: that would be another profile under the same name
			l.fail(rng, "Unreadable profile", sentence(fmt.Sprintf("profile %q can't be read: %v", name, err)))
			return nil
		}
		return &file{base: name, path: path, dir: i, src: src}
	}
	if src, ok := builtinSource(name); ok {
		return &file{base: name, path: builtinPath, builtin: true, dir: -1, src: src}
	}
	if why := refusedProfiles[name]; why != "" {
		l.fail(rng, "Refused profile", why)
		return nil
	}
	l.fail(rng, "No such profile", fmt.Sprintf("There is no profile %q among the built-in ones (%s)%s.%s A file is named by its path, for example \"./%s.hcl\".",
		name, strings.Join(Builtins(), ", "), inDirs(l.o.Dirs), didYouMean(name, profileNames(l.o)), name))
	return nil
}

func (l *loader) findPath(name string, from *file, rng *hcl.Range) *file {
	base := l.o.Cwd
	if from != nil {
		base = filepath.Dir(from.path)
	}
	path, err := absolutePath(name, l.o.Home, base)
	if err != nil {
		l.fail(rng, "Wrong profile name", sentence(err.Error()))
		return nil
	}
	src, err := l.o.read(path)
	if errors.Is(err, fs.ErrNotExist) {
		l.fail(rng, "No such profile", fmt.Sprintf("There is no file %s.", path))
		return nil
	}
	if err != nil {
		l.fail(rng, "Unreadable profile", sentence(err.Error()))
		return nil
	}
	name = filepath.Base(path)
	return &file{base: strings.TrimSuffix(name, filepath.Ext(name)), path: path, dir: -1, src: src}
}

// visit parses a file, then what it extends, then its rules.
func (l *loader) visit(f *file, chain []string, rng *hcl.Range) {
	if l.state[f.key()] == visited {
		return
	}
	if l.state[f.key()] == visiting {
		l.fail(rng, "Profiles extend each other", fmt.Sprintf("%s comes back to itself: %s. Take one of these out.", f.base, strings.Join(append(chain, f.base), " extends ")))
		return
	}
	if len(chain) >= maxDepth {
		l.fail(rng, "Profiles extend too deeply", fmt.Sprintf("More than %d profiles extend one another in a row.", maxDepth))
		return
	}
	l.state[f.key()] = visiting
	defer func() { l.state[f.key()] = visited }()
	f.name = l.displayName(f)
	l.files = append(l.files, f)

	body := l.parse(f)
	if body == nil {
		return
	}
	d := &decoder{file: f, home: l.o.Home, cwd: l.o.Cwd, ctx: &hcl.EvalContext{Functions: functions(f, l.o)}}
	content := d.content(body, profileSchema())
	l.variables(d, content)
	parents, said := d.extends(content)
	layer := d.decode(content)
	l.diags = append(l.diags, d.diags...)
	l.bindings = append(l.bindings, d.bindings...)
	l.budgetUses = append(l.budgetUses, d.budgetUses...)
	chain = append(slices.Clone(chain), f.base)
	for _, p := range parents {
		if parent := l.find(p.s, f, p.rng.Ptr()); parent != nil {
			l.visit(parent, chain, p.rng.Ptr())
		}
	}
	// An empty list is not the absence of one: it extends nothing, not even base.
	if !said {
		src, _ := builtinSource(baseProfile)
		l.visit(&file{base: baseProfile, path: builtinPath, builtin: true, dir: -1, src: src}, chain, nil)
	}
	l.layers = append(l.layers, layer)
}

// extends reads what a file extends; said is whether it says so at all.
func (d *decoder) extends(c *hcl.BodyContent) (names []text, said bool) {
	a := c.Attributes["extends"]
	if a == nil {
		return nil, false
	}
	names, _ = d.texts(a.Expr)
	return names, true
}

// parse gives the file's body, or nil after a mistake that leaves nothing to read.
func (l *loader) parse(f *file) hcl.Body {
	l.parsed[f.name] = &hcl.File{Bytes: f.src}
	if n := norm.NFC.QuickSpan(f.src); utf8.Valid(f.src) && !norm.NFC.IsNormal(f.src) {
		l.fail(rangeAt(f, n), "Not in Unicode's normal form", "HCL keeps text in Unicode's normal form C and would change this character without a word: a path or host in it would then be another one. Write the composed character, or \"?\" or \"*\" in a path whose name on disk is in another form.")
		return nil
	}
	parse, deep := parseNative, nativeTooDeep
	if strings.HasSuffix(f.path, ".json") {
		parse, deep = json.Parse, jsonTooDeep
	}
	if at := deep(f.src); at >= 0 {
		l.fail(rangeAt(f, at), "Nested too deeply", "Too many brackets, quotes and signs are open here, one in the other.")
		return nil
	}
	if f.builtin && f.name == baseFile {
		parse = func([]byte, string) (*hcl.File, hcl.Diagnostics) { return parsedBase() }
	}
	parsed, diags := parse(f.src, f.name)
	l.diags = append(l.diags, diags...)
	if parsed != nil {
		l.parsed[f.name] = parsed
	}
	if diags.HasErrors() {
		return nil
	}
	return parsed.Body
}

const baseFile = baseProfile + ".hcl"

// parsedBase is what nearly every profile extends in the end. Nothing that is parsed is
// changed by reading it.
var parsedBase = sync.OnceValues(func() (*hcl.File, hcl.Diagnostics) {
	src, _ := builtinSource(baseProfile)
	return parseNative(src, baseFile)
})

// Prepare parses what nearly every profile extends, for Load to find it done. It takes half
// of a usual Load's time; a caller that has something else to do lets it run beside that.
func Prepare() { _, _ = parsedBase() }

func parseNative(src []byte, name string) (*hcl.File, hcl.Diagnostics) {
	return hclsyntax.ParseConfig(src, name, hcl.InitialPos)
}

func rangeAt(f *file, offset int) *hcl.Range {
	before := f.src[:offset]
	start := hcl.Pos{Byte: offset, Line: 1 + bytes.Count(before, []byte("\n")), Column: 1 + utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:])}
	end := start
	_, n := utf8.DecodeRune(f.src[offset:])
	end.Byte, end.Column = end.Byte+n, end.Column+1
	return &hcl.Range{Filename: f.name, Start: start, End: end}
}

// displayName is the file's base name, with as many folders before it as it takes to
// tell it from the files that were read before.
func (l *loader) displayName(f *file) string {
	path := f.path
	if f.builtin {
		path = "/builtin/" + f.base + ".hcl"
	}
	name := filepath.Base(path)
	for rest := filepath.Dir(path); l.parsed[name] != nil; rest = filepath.Dir(rest) {
		name = filepath.Join(filepath.Base(rest), name)
		if rest == "/" {
			break
		}
	}
	return name
}

func checkProfileName(name string) error {
	switch {
	case name == "":
		return errors.New("the name of a profile is empty")
	case !utf8.ValidString(name) || strings.ContainsFunc(name, unicode.IsControl):
		return fmt.Errorf("profile %q has a control character in its name or is not UTF-8", name)
	}
	return nil
}

func inDirs(dirs []string) string {
	if len(dirs) == 0 {
		return ""
	}
	return " and none in " + strings.Join(dirs, " or ")
}

// sortDiagnostics puts them in the order of the files and of the lines in them,
// since HCL's own come in the order of Go's maps.
func sortDiagnostics(diags hcl.Diagnostics, files []*file) {
	order := map[string]int{}
	for i, f := range files {
		order[f.name] = i + 1
	}
	slices.SortStableFunc(diags, func(a, b *hcl.Diagnostic) int {
		switch {
		case a.Subject == nil && b.Subject == nil:
			return 0
		case a.Subject == nil:
			return -1
		case b.Subject == nil:
			return 1
		}
		return cmp.Or(order[a.Subject.Filename]-order[b.Subject.Filename], a.Subject.Start.Byte-b.Subject.Start.Byte, strings.Compare(a.Summary+a.Detail, b.Summary+b.Detail))
	})
}
