package reader

import "iter"

// Batch is what a checkpoint closes: the events of a poll, or up to 999 of them if there are more.
type Batch struct {
	// Events are the events of the batch that were read, in their order and without the checkpoint.
	Events []*Event
	// Notes are the gaps, holes, and foreign and unreadable messages that were found on the way to the
	// checkpoint. The event of a gap is in Events, too.
	Notes []Item
	// Checkpoint closes the batch.
	Checkpoint *Checkpoint
}

// Batches collects items of [Reader.Events] into batches, each closed by its checkpoint. The subjects that
// are read must include the checkpoints. The events after the last checkpoint are in no batch: the stream
// stores a batch at once, so there are none unless the checkpoint is missing.
func Batches(items iter.Seq2[Item, error]) iter.Seq2[Batch, error] {
	return func(yield func(Batch, error) bool) {
		var b Batch
		for item, err := range items {
			if err != nil {
				yield(Batch{}, err)
				return
			}
			if !b.add(item) {
				continue
			}
			if !yield(b, nil) {
				return
			}
			b = Batch{}
		}
	}
}

// add adds an item, and reports whether it closes the batch.
func (b *Batch) add(item Item) bool {
	switch i := item.(type) {
	case *Event:
		b.Events = append(b.Events, i)
	case *Gap:
		b.Events, b.Notes = append(b.Events, &i.Event), append(b.Notes, i)
	case *Checkpoint:
		b.Checkpoint = i
		return true
	default:
		b.Notes = append(b.Notes, item)
	}
	return false
}
