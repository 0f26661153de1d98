package main

import "time"

type report struct {
	options options
	began   time.Time
	args    []string
	results []result
}

func (r *report) write() error { return nil }
