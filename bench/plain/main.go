// Command plain does the bridge's work in the simplest way: encoding/json, a map of rows,
// asynchronous publishing. It knows which columns are clocks, reports arrivals and departures, and
// publishes before and after; it has no checkpoints, no fence, no recovery and no schemas. It is
// the benchmark's baseline.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// row is one row of a grid, by column id.
type row map[string]string

// body is a response of the API, by app id.
type body map[string]struct {
	AgentGrids   []grid `json:"agent_grids"`
	ServiceGrids []grid `json:"service_grids"`
}

type grid struct {
	ID     string `json:"id"`
	Values []row  `json:"values"`
}

// change is what is published.
type change struct {
	ID      string    `json:"id"`
	Op      string    `json:"op"`
	Time    time.Time `json:"time"`
	Key     string    `json:"key"`
	Changed []string  `json:"changed,omitempty"`
	Before  row       `json:"before,omitempty"`
	After   row       `json:"after,omitempty"`
}

type poller struct {
	js      jetstream.JetStream
	url     string
	subject string
	ignored map[string][]string // volatile columns, by grid id

	poll  int
	known map[string]row
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "plain:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	interval, err := time.ParseDuration(os.Getenv("INTERVAL"))
	if err != nil {
		return fmt.Errorf("INTERVAL: %w", err)
	}
	p := poller{url: os.Getenv("HTTP_URL"), subject: os.Getenv("SUBJECT"), known: map[string]row{}}
	if err := json.Unmarshal([]byte(os.Getenv("VOLATILE")), &p.ignored); err != nil {
		return fmt.Errorf("VOLATILE: want column ids by grid as JSON: %w", err)
	}
	nc, err := nats.Connect(os.Getenv("NATS_URL"))
	if err != nil {
		return fmt.Errorf("connect to NATS: %w", err)
	}
	defer nc.Close()
	if p.js, err = jetstream.New(nc); err != nil {
		return fmt.Errorf("open JetStream: %w", err)
	}
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		if err := p.pollOnce(ctx); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// pollOnce is one poll: get, decode, compare, publish, wait for the last ack.
func (p *poller) pollOnce(ctx context.Context) error {
	p.poll++
	rows, err := p.get(ctx)
	if err != nil {
		return err
	}
	var acks []jetstream.PubAckFuture
	publish := func(c change) error {
		c.ID, c.Time = strconv.Itoa(p.poll)+"-"+c.Key, time.Now()
		data, err := json.Marshal(c)
		if err != nil {
			return fmt.Errorf("encode a change: %w", err)
		}
		msg := nats.NewMsg(p.subject)
		msg.Data = data
		msg.Header.Set(nats.MsgIdHdr, c.ID)
		ack, err := p.js.PublishMsgAsync(msg)
		if err != nil {
			return fmt.Errorf("publish: %w", err)
		}
		acks = append(acks, ack)
		return nil
	}
	for key, after := range rows {
		c := change{Op: "changed", Key: key, After: after}
		if before, known := p.known[key]; known {
			c.Before = before
			if c.Changed = p.changedColumns(key, before, after); c.Changed == nil {
				continue
			}
		} else {
			c.Op = "added"
		}
		if err := publish(c); err != nil {
			return err
		}
	}
	for key, before := range p.known {
		if _, still := rows[key]; !still {
			if err := publish(change{Op: "removed", Key: key, Before: before}); err != nil {
				return err
			}
		}
	}
	for _, ack := range acks {
		select {
		case <-ack.Ok():
		case err := <-ack.Err():
			return fmt.Errorf("publish: %w", err)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	p.known = rows
	return nil
}

// get requests a snapshot, by grid and first column.
func (p *poller) get(ctx context.Context) (map[string]row, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url, nil)
	if err != nil {
		return nil, fmt.Errorf("get data: %w", err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("get data: %w", err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("get data: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, errors.New("get data: " + resp.Status)
	}
	var apps body
	if err := json.Unmarshal(data, &apps); err != nil {
		return nil, fmt.Errorf("decode: %w", err)
	}
	rows := map[string]row{}
	for _, app := range apps {
		for _, g := range slices.Concat(app.AgentGrids, app.ServiceGrids) {
			for _, r := range g.Values {
				rows[g.ID+":"+r["1"]] = r
			}
		}
	}
	return rows, nil
}

// changedColumns lists the columns that differ and are not clocks, in order; nil if none.
func (p *poller) changedColumns(key string, before, after row) []string {
	if maps.Equal(before, after) {
		return nil
	}
	grid, _, _ := strings.Cut(key, ":")
	var changed []string
	for column, value := range after {
		if before[column] != value && !slices.Contains(p.ignored[grid], column) {
			changed = append(changed, column)
		}
	}
	slices.Sort(changed)
	return changed
}
