package bridge

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"bpcc-nats/bridge/engine"
	"bpcc-nats/bridge/event"
	"bpcc-nats/bridge/publish"
	"bpcc-nats/bridge/stream"
)

// The programs that BenchmarkPublish runs.
var (
	natsServer = flag.String("publish.server", "", "nats-server to measure publishing on")
	natsCLI    = flag.String("publish.nats", "", "nats, the command line tool, to compare with")
)

// BenchmarkPublish stores polls of many changes on a nats-server process, in atomic
// batches of 1,000 with their checkpoints, from the comparison to the acknowledgement:
// one in each poll, or ten. In turn with it, to the same stream, nats bench publishes
// atomic batches of 1,000: one of the events over and over, on as many subjects, once as
// it is, and once with what the bridge's messages carry, an id and a content type. And a
// program does so that has the bridge's messages finished and does nothing but send them,
// which is the most that the server lets through of those. No view reads the stream, for
// what that takes falls on whoever publishes next.
func BenchmarkPublish(b *testing.B) {
	if *natsServer == "" || *natsCLI == "" {
		b.Skip("needs -publish.server and -publish.nats, the paths of nats-server and nats")
	}
	for _, sync := range []string{"default", "always"} {
		for _, batches := range []int{1, 10} {
			b.Run(fmt.Sprintf("sync=%s/batches=%d", sync, batches), func(b *testing.B) { benchPublish(b, sync, batches) })
		}
	}
}

func benchPublish(b *testing.B, sync string, inPoll int) {
	dir := b.TempDir()
	url := startNATSServer(b, dir, sync)
	agents := inPoll * (event.BatchLimit - 1)
	br, c := benchBridgeOn(b, url, agents, nats.WriteBufferSize(128<<10))
	if err := br.js.DeleteStream(b.Context(), stream.ViewStream(br.config.Stream)); err != nil {
		b.Fatal(err)
	}
	observe, poll := pollFuncs(b, br, c)
	poll()
	finished := finishedMessages(b, br, observe())
	payload := filepath.Join(dir, "payload.json")
	if err := os.WriteFile(payload, finished[0].Data, 0o600); err != nil {
		b.Fatal(err)
	}
	const batches = 30
	duration := map[string]time.Duration{}
	rounds := 0
	for b.Loop() {
		duration["nats-bench"] += natsBench(b, url, payload, agents, batches)
		duration["nats-bench-with-ids"] += natsBench(b, url, payload, agents, batches, "--dedup", "-H", "Content-Type:"+event.ContentType)
		start := time.Now()
		for range batches / inPoll {
			poll()
		}
		between := time.Now()
		for i := range batches {
			sendFinished(b, br, finished[i%inPoll*event.BatchLimit:][:event.BatchLimit], strconv.Itoa(rounds*batches+i))
		}
		duration["bridge"] += between.Sub(start)
		duration["finished"] += time.Since(between)
		rounds++
	}
	for name, d := range duration {
		b.ReportMetric(float64(rounds*batches*event.BatchLimit)/d.Seconds(), name+"-msgs/s")
		if name != "bridge" {
			b.ReportMetric(100*d.Seconds()/duration["bridge"].Seconds(), "%-of-"+name)
		}
	}
}

// finishedMessages are those of a batch, on subjects of their own.
func finishedMessages(b *testing.B, br *Bridge, batch *engine.Batch) []*nats.Msg {
	b.Helper()
	var all []*nats.Msg
	buffer := &publish.Buffer{}
	for chunk := range br.engine.Chunks(batch, event.BatchLimit) {
		msgs, err := br.encode(chunk, buffer)
		if err != nil {
			b.Fatal(err)
		}
		for _, m := range msgs {
			subject := strings.Replace(m.Subject, event.Prefix(br.config.Tenant), event.SubjectPrefix+".bench.", 1)
			all = append(all, &nats.Msg{Subject: subject, Header: nats.Header{"Content-Type": {event.ContentType}}, Data: bytes.Clone(m.Data)})
		}
		br.engine.Ack(chunk)
	}
	return all
}

// sendFinished sends messages as one batch, with new ids.
func sendFinished(b *testing.B, br *Bridge, msgs []*nats.Msg, id string) {
	b.Helper()
	for i, m := range msgs {
		m.Header[nats.MsgIdHdr] = []string{"bench-" + id + "-" + strconv.Itoa(i)}
	}
	if _, err := br.shared.publisher.Publish(b.Context(), msgs); err != nil {
		b.Fatal(err)
	}
}

// startNATSServer starts a process and gives its address.
func startNATSServer(b *testing.B, dir, sync string) (url string) {
	b.Helper()
	interval := ""
	if sync != "default" {
		interval = ", sync_interval: " + sync
	}
	config := filepath.Join(dir, "server.conf")
	text := fmt.Sprintf("listen: \"127.0.0.1:-1\"\nports_file_dir: %q\njetstream { store_dir: %q%s }\n", dir, filepath.Join(dir, "store"), interval)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(*natsServer, "-c", config)
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait() // it was interrupted
	})
	for range 100 {
		files, err := filepath.Glob(filepath.Join(dir, "*.ports"))
		if err != nil {
			b.Fatal(err)
		}
		if len(files) == 1 {
			ports, err := os.ReadFile(files[0])
			if _, rest, found := strings.Cut(string(ports), `"nats://`); err == nil && found {
				address, _, _ := strings.Cut(rest, `"`)
				return "nats://" + address
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	b.Fatal("nats-server does not say where it listens")
	return ""
}

// natsBench runs nats bench and gives the time that it says it took.
func natsBench(b *testing.B, url, payload string, subjects, batches int, more ...string) time.Duration {
	b.Helper()
	messages := batches * event.BatchLimit
	args := append([]string{
		"-s", url, "bench", "js", "pub", "atomic", event.SubjectPrefix + ".bench.agent.x", "--stream", "BPCC_EVENTS", "--no-progress",
		"--multisubject", "--multisubjectmax", fmt.Sprint(subjects), "--payload", payload,
		"--msgs", fmt.Sprint(messages), "--batch", fmt.Sprint(event.BatchLimit),
	}, more...)
	out, err := exec.CommandContext(b.Context(), *natsCLI, args...).CombinedOutput()
	output := regexp.MustCompile(`([\d,]+) msgs/sec`).FindSubmatch(out)
	if err != nil || output == nil {
		b.Fatalf("nats bench: %v\n%s", err, out)
	}
	rate, err := strconv.Atoi(strings.ReplaceAll(string(output[1]), ",", ""))
	if err != nil {
		b.Fatal(err)
	}
	return time.Duration(float64(messages) / float64(rate) * float64(time.Second))
}
