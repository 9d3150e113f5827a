package profiles

func (t *textWriter) budget(b Budget) {
	t.open("budget "+quote(b.Name), b.Origin)
	if b.Unit != "" {
		t.printf("unit = %s", quote(b.Unit))
	}
	for _, l := range []struct {
		name  string
		limit *Amount
	}{{LimitEach, b.Each}, {LimitPerRun, b.PerRun}, {LimitPerDay, b.PerDay}, {LimitPerWeek, b.PerWeek}, {LimitAskAbove, b.AskAbove}} {
		if l.limit != nil {
			t.printf("%s = %s", l.name, *l.limit)
		}
	}
	t.close()
}

func (t *textWriter) spends(list []Spend) {
	if len(list) == 0 {
		return
	}
	t.list("spend = {", "}", len(list), func(i int) (string, Origin) {
		s := list[i]
		text := ""
		switch {
		case s.Before != nil && s.After != nil:
			text = "[" + s.Before.Source + ", " + s.After.Source + "]"
		case s.Before != nil:
			text = s.Before.Source
		default:
			text = s.After.Source
		}
		return quote(s.Budget) + " = " + text, s.Origin
	})
}
