package profiles

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// Ready is what is known of a service that agents use: where it is, how it takes its
// credential, and what that looks like. A profile names it by `like`.
type Ready struct {
	Name      string   `json:"name"`
	Title     string   `json:"title"`
	Kind      string   `json:"kind"`  // model, forge, registry ...
	Hosts     []string `json:"hosts"` // patterns; none where its users run their own
	Provider  Provider `json:"provider,omitempty"`
	Variables []string `json:"variables"` // where programs look for the credential, the usual one first
	Header    string   `json:"header,omitempty"`
	Format    string   `json:"format,omitempty"`
	Query     string   `json:"query,omitempty"`
	Basic     string   `json:"basic,omitempty"`
	Prefixes  []string `json:"prefixes,omitempty"` // of the credential, the longer ones first
	Shape     string   `json:"shape"`              // the whole credential, as a regular expression
}

//go:embed ready.json
var readyJSON []byte

// readyList is read when it is first needed: most profiles need nothing of it.
var readyList = sync.OnceValue(func() []Ready {
	var list []Ready
	if err := json.Unmarshal(readyJSON, &list); err != nil {
		panic(fmt.Sprintf("profiles: ready.json: %v", err)) // it is part of the binary
	}
	return list
})

// ReadyList is the services that `like` can name.
func ReadyList() []Ready { return slices.Clone(readyList()) }

// FindReady finds a service by its name; nil where there is none.
func FindReady(name string) *Ready {
	for _, r := range readyList() {
		if r.Name == name {
			return &r
		}
	}
	return nil
}

func readyNames() (names []string) {
	for _, r := range readyList() {
		names = append(names, r.Name)
	}
	return names
}

// KeyPrefixes are how the credentials of the ready list begin, the longer ones first.
func KeyPrefixes() (list []string) {
	for _, r := range readyList() {
		for _, p := range r.Prefixes {
			if !slices.Contains(list, p) {
				list = append(list, p)
			}
		}
	}
	slices.SortStableFunc(list, func(a, b string) int { return len(b) - len(a) })
	return list
}

// Fits says whether a credential looks like the service's.
func (r *Ready) Fits(value []byte) bool {
	shape, err := regexp.Compile(`^(?:` + r.Shape + `)$`)
	return err == nil && shape.Match(value)
}

// CheckShape says in a sentence that a secret's value does not look like what its block
// says it is; "" where it does, or where the block says nothing. Nothing of the value is
// in it.
func (s *Secret) CheckShape(value []byte) string {
	r := FindReady(s.Like)
	if r == nil || r.Fits(value) {
		return ""
	}
	begins := ""
	if len(r.Prefixes) > 0 {
		begins = ", which begins with " + strings.Join(r.Prefixes, " or ")
	}
	return fmt.Sprintf("secret %q (%s): the value does not look like a credential of %s%s: is it the right one?", s.Name, s.Origin, r.Title, begins)
}
