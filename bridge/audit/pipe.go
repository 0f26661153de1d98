package audit

import "sync"

// Pipe adds messages to an [Auditor] in their order, and lets several goroutines validate and decode them
// before. Until it is closed, only the pipe may use the auditor. It is for one goroutine.
type Pipe struct {
	auditor *Auditor
	filling *chunk
	work    chan *chunk // for the goroutines that examine
	ordered chan *chunk // the same chunks, for the goroutine that adds
	done    sync.WaitGroup
}

// chunk is some messages. Chunks pass from goroutine to goroutine as a whole, since that takes about as
// long as examining a message.
type chunk struct {
	messages []pipedMessage
	ready    chan struct{} // closed when all are examined
}

// chunkSize is the number of messages in a chunk, chunksWaiting the number of chunks on their way.
const chunkSize, chunksWaiting = 64, 32

type pipedMessage struct {
	parse func() Message
	examined
	unreadable []uint64 // if parse is nil
}

// NewPipe returns a pipe into an auditor, with a number of goroutines that examine messages. It must be
// closed.
func NewPipe(a *Auditor, workers int) *Pipe {
	p := &Pipe{auditor: a, filling: newChunk(), work: make(chan *chunk, chunksWaiting), ordered: make(chan *chunk, chunksWaiting)}
	for range workers {
		p.done.Go(p.examine)
	}
	p.done.Go(p.add)
	return p
}

func newChunk() *chunk {
	return &chunk{messages: make([]pipedMessage, 0, chunkSize), ready: make(chan struct{})}
}

// examine examines the messages of chunks.
func (p *Pipe) examine() {
	for c := range p.work {
		for i := range c.messages {
			if m := &c.messages[i]; m.parse != nil {
				m.examined = p.auditor.examine(m.parse())
			}
		}
		close(c.ready)
	}
}

// add adds the messages of chunks in their order.
func (p *Pipe) add() {
	for c := range p.ordered {
		<-c.ready
		for i := range c.messages {
			if m := &c.messages[i]; m.parse != nil {
				p.auditor.add(&m.examined)
			} else {
				p.auditor.AddUnreadable(m.unreadable)
			}
		}
	}
}

// Add adds a message as [Auditor.Add] does. Another goroutine calls parse, and keeps what it returns.
func (p *Pipe) Add(parse func() Message) { p.put(pipedMessage{parse: parse}) }

// AddUnreadable adds unreadable messages as [Auditor.AddUnreadable] does.
func (p *Pipe) AddUnreadable(lost []uint64) {
	p.put(pipedMessage{unreadable: lost})
}

func (p *Pipe) put(m pipedMessage) {
	if p.filling.messages = append(p.filling.messages, m); len(p.filling.messages) == chunkSize {
		p.send()
	}
}

// send passes the chunk on.
func (p *Pipe) send() {
	p.ordered <- p.filling
	p.work <- p.filling
	p.filling = newChunk()
}

// Close waits until all messages are added.
func (p *Pipe) Close() {
	p.send()
	close(p.work)
	close(p.ordered)
	p.done.Wait()
}
