package main

import (
	"context"
	"fmt"

	"bpcc-nats/bridge"
)

func (p *program) replay(ctx context.Context, args []string) error {
	f := p.flags("replay")
	var s stretch
	s.bounds(f)
	subject := f.String("subject", bridge.SubjectPrefix+".>", "which subjects, with NATS wildcards")
	f.BoolVar(&s.follow, "follow", false, "go on with what is published from now on")
	if err := parse(f, args, 0); err != nil {
		return err
	}
	if err := s.check(); err != nil {
		return err
	}
	s.subjects = []string{*subject}
	linked, c, l, _, err := p.reading(ctx)
	if err != nil || l == nil {
		return err
	}
	defer l.close()
	return stopped(linked, read(linked, l.js, c.Stream, s, func(m message) error {
		_, err := fmt.Fprintf(p.stdout, "%s\n", m.body)
		return err
	}))
}
