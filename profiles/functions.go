package profiles

import (
	"errors"
	"fmt"
	"path/filepath"
	"unicode/utf8"

	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/function/stdlib"
	"golang.org/x/text/unicode/norm"
)

// functions are what an expression may call. None of them runs a program, reaches
// the network or reads outside the profile's own folder.
func functions(f *file, o *Options) map[string]function.Function {
	return map[string]function.Function{
		"env":        envFunction(o),
		"file":       fileFunction(f, o),
		"format":     stdlib.FormatFunc,
		"join":       stdlib.JoinFunc,
		"concat":     stdlib.ConcatFunc,
		"lower":      stdlib.LowerFunc,
		"upper":      stdlib.UpperFunc,
		"regex":      stdlib.RegexFunc,
		"jsondecode": stdlib.JSONDecodeFunc,
	}
}

// stringFunction is a function from one string to one.
func stringFunction(param string, call func(string) (string, error)) function.Function {
	return function.New(&function.Spec{
		Params: []function.Parameter{{Name: param, Type: cty.String}},
		Type:   function.StaticReturnType(cty.String),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			s, err := call(args[0].AsString())
			if err != nil {
				return cty.UnknownVal(cty.String), err
			}
			if err := checkText(s); err != nil {
				return cty.UnknownVal(cty.String), err
			}
			return cty.StringVal(s), nil
		},
	})
}

func envFunction(o *Options) function.Function {
	return stringFunction("name", func(name string) (string, error) {
		if o.Env == nil {
			return "", nil
		}
		value, _ := o.Env(name)
		return value, nil
	})
}

func fileFunction(f *file, o *Options) function.Function {
	return stringFunction("path", func(path string) (string, error) {
		switch {
		case f.builtin:
			return "", errors.New("a built-in profile reads no file")
		case !filepath.IsLocal(path):
			return "", fmt.Errorf("%q leads out of the profile's folder: write a path relative to it", path)
		}
		b, err := o.read(filepath.Join(filepath.Dir(f.path), path))
		if err != nil {
			return "", err
		}
		return string(b), nil
	})
}

// checkText refuses what an HCL string can't hold as it is. cty normalises every
// string to NFC, so that text in another form would silently become other bytes:
// a deny of such a path would then deny a path that does not exist.
func checkText(s string) error {
	if !utf8.ValidString(s) {
		return errors.New("the text is not UTF-8")
	}
	if !norm.NFC.IsNormalString(s) {
		return errors.New("the text is not in Unicode's normal form C, which profiles are written in")
	}
	return nil
}
