package audit

import "slices"

// kind is what a node is written as.
type kind uint8

const (
	kindText        kind = iota // from outside: redacted, cleaned and cut before it is written
	kindOwn                     // the product's own words, or hex: written as they are
	kindNumber                  //
	kindFlag                    //
	kindObject                  //
	kindList                    //
	kindUID                     // the event's uid, known when it is numbered
	kindSequence                // the event's number
	kindAttestation             // the link to the event before
)

// A node is one JSON value of an event that is being built. A tree of them costs
// less than maps and reflection, and knows which strings came from outside.
type node struct {
	kind kind
	str  string
	num  int64
	sub  []field // of an object or a list (where keys are empty)
}

// A field is a member of an object.
type field struct {
	key string
	node
}

// An object is the members of a JSON object, in any order: writing sorts them.
type object []field

// text adds a string from outside; an empty one is left out.
func (o *object) text(key, s string) {
	if s != "" {
		*o = append(*o, field{key, node{kind: kindText, str: s}})
	}
}

// own adds a string of the product's own, which needs no cleaning.
func (o *object) own(key, s string) {
	if s != "" {
		*o = append(*o, field{key, node{kind: kindOwn, str: s}})
	}
}

// number adds a number, zero too.
func (o *object) number(key string, n int64) {
	*o = append(*o, field{key, node{kind: kindNumber, num: n}})
}

// flag adds a boolean.
func (o *object) flag(key string, b bool) {
	n := node{kind: kindFlag}
	if b {
		n.num = 1
	}
	*o = append(*o, field{key, n})
}

// object adds an object; an empty one is left out.
func (o *object) object(key string, sub object) {
	if len(sub) > 0 {
		*o = append(*o, field{key, node{kind: kindObject, sub: sub}})
	}
}

// objects adds a list of objects; an empty one is left out.
func (o *object) objects(key string, list []object) {
	if len(list) == 0 {
		return
	}
	sub := make([]field, len(list))
	for i, item := range list {
		sub[i] = field{node: node{kind: kindObject, sub: item}}
	}
	*o = append(*o, field{key, node{kind: kindList, sub: sub}})
}

// texts adds a list of strings from outside; an empty one is left out.
func (o *object) texts(key string, list []string) {
	if len(list) == 0 {
		return
	}
	sub := make([]field, len(list))
	for i, s := range list {
		sub[i] = field{node: node{kind: kindText, str: s}}
	}
	*o = append(*o, field{key, node{kind: kindList, sub: sub}})
}

// numbers adds a list of numbers, an empty one too.
func (o *object) numbers(key string, list []int64) {
	sub := make([]field, len(list))
	for i, n := range list {
		sub[i] = field{node: node{kind: kindNumber, num: n}}
	}
	*o = append(*o, field{key, node{kind: kindList, sub: sub}})
}

// dict adds an object whose keys are data too, in the order of the keys so that
// the same record always gives the same event.
func dict[T any](o *object, key string, m map[string]T, add func(*object, string, T)) {
	if len(m) == 0 {
		return
	}
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	sub := make(object, 0, len(m))
	for _, k := range keys {
		n := len(sub)
		add(&sub, k, m[k])
		if len(sub) == n { // an empty value is still a member
			sub = append(sub, field{k, node{kind: kindOwn}})
		}
	}
	// num marks keys that are data: they are cleaned like any string.
	*o = append(*o, field{key, node{kind: kindObject, num: 1, sub: sub}})
}

// get finds a member, or nil.
func (o object) get(key string) *field {
	for i := range o {
		if o[i].key == key {
			return &o[i]
		}
	}
	return nil
}
