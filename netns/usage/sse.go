package usage

// events takes a stream of server-sent events apart (HTML Living Standard, section
// 9.2.6) and hands on the data of each as it comes. What the data is called ("event:")
// says nothing that the data does not say itself.
type events struct {
	data func([]byte) // a piece of an event's data
	over func()       // the event's end

	field   []byte // of the line's name, as far as it may still be "data"
	state   lineState
	cr      bool // the last byte was a carriage return
	lines   int  // of data in this event
	hasData bool
}

type lineState byte

const (
	atStart  lineState = iota
	inName             // before the colon
	atValue            // right behind it: one space is left out
	inValue            // of data
	skipLine           // of anything else
)

const dataField = "data"

func (e *events) write(p []byte) {
	for i := 0; i < len(p); {
		c := p[i]
		if e.cr && c == '\n' { // the second half of one line's end
			e.cr = false
			i++
			continue
		}
		e.cr = c == '\r'
		if c == '\r' || c == '\n' {
			e.endLine()
			i++
			continue
		}
		if e.state != inValue && e.state != skipLine {
			i += e.head(c)
			continue
		}
		j := i
		for j < len(p) && p[j] != '\r' && p[j] != '\n' {
			j++
		}
		if e.state == inValue {
			e.data(p[i:j])
		}
		i = j
	}
}

// head reads a byte of a line before its value, and says whether it used it.
func (e *events) head(c byte) int {
	switch {
	case e.state == atValue:
		e.state = inValue
		if e.lines > 1 {
			e.data([]byte{'\n'})
		}
		if c == ' ' {
			return 1
		}
		return 0
	case c == ':' && string(e.field) == dataField:
		e.state, e.hasData = atValue, true
		e.lines++
	case c == ':', len(e.field) >= len(dataField):
		e.state = skipLine
	default:
		e.state = inName
		e.field = append(e.field, c)
	}
	return 1
}

func (e *events) endLine() {
	blank := e.state == atStart
	if e.state == inName && string(e.field) == dataField || e.state == atValue {
		e.hasData = true // an empty line of data
	}
	e.state, e.field = atStart, e.field[:0]
	if blank && e.hasData {
		e.lines, e.hasData = 0, false
		e.over()
	}
}

// end takes what nothing follows for a whole event: the standard drops it, but some
// servers leave out the last blank line, and it is what the call cost.
func (e *events) end() {
	e.endLine()
	e.endLine()
}
