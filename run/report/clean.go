package report

import (
	"reflect"
	"strings"
	"unicode/utf8"

	"github.com/agentjail/agentjail/audit"
)

// maxText bounds one string of a report for people.
const maxText = 400

// clean is a deep copy of the report for people: each string in it, wherever it is, is
// printable (audit.Printable) and short. It goes by the types, so that a field that the
// model learns later is not forgotten.
func clean(r *Report) *Report {
	return cleanValue(reflect.ValueOf(r)).Interface().(*Report)
}

func cleanValue(v reflect.Value) reflect.Value {
	out := reflect.New(v.Type()).Elem()
	switch v.Kind() {
	case reflect.String:
		out.SetString(cleanText(v.String()))
	case reflect.Pointer:
		if !v.IsNil() {
			out.Set(reflect.New(v.Type().Elem()))
			out.Elem().Set(cleanValue(v.Elem()))
		}
	case reflect.Struct:
		for i := range v.NumField() {
			out.Field(i).Set(cleanValue(v.Field(i)))
		}
	case reflect.Slice:
		if !v.IsNil() {
			out.Set(reflect.MakeSlice(v.Type(), v.Len(), v.Len()))
			for i := range v.Len() {
				out.Index(i).Set(cleanValue(v.Index(i)))
			}
		}
	case reflect.Map:
		out.Set(reflect.MakeMapWithSize(v.Type(), v.Len()))
		for k, x := range v.Seq2() {
			out.SetMapIndex(cleanValue(k), cleanValue(x))
		}
	default:
		out.Set(v)
	}
	return out
}

// cleanText makes of a tab what a terminal shows of it.
func cleanText(s string) string {
	if len(s) > maxText {
		n := maxText
		for n > 0 && !utf8.RuneStart(s[n]) {
			n--
		}
		s = s[:n] + "…"
	}
	return audit.Printable(strings.ReplaceAll(s, "\t", "    "))
}
