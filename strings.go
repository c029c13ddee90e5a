package udp

import (
	"fmt"
	"reflect"
	"strings"
)

// String lists the counters that are not zero, as "Received=3 Handled=3", for
// logs; those of other structs as "Dropped.Queue=1".
func (s Stats) String() string { return listed(s) }

// String lists what there is, as "ReadBuffer=212992 PacketInfo", for logs.
func (i Info) String() string { return listed(i) }

// listed is the fields of a struct that say something.
func listed(v any) string {
	var words []string
	list(&words, "", reflect.ValueOf(v))
	return strings.Join(words, " ")
}

func list(words *[]string, prefix string, v reflect.Value) {
	for i := range v.NumField() {
		name, f := prefix+v.Type().Field(i).Name, v.Field(i)
		switch {
		case f.Kind() == reflect.Struct:
			list(words, name+".", f)
		case f.IsZero():
		case f.Kind() == reflect.Bool:
			*words = append(*words, name)
		default:
			*words = append(*words, fmt.Sprint(name, "=", f.Interface()))
		}
	}
}
