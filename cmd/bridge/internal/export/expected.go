package export

import (
	"fmt"

	"github.com/nats-io/nkeys"
	"github.com/spf13/pflag"

	"bpcc-nats/bridge/audit"
	"bpcc-nats/bridge/audit/bounds"
	"bpcc-nats/cmd/bridge/internal/reader"
)

// Expected is what those who verify events know from elsewhere.
type Expected struct {
	tenant   string
	signedBy []string // public keys
	heads    []string // files
	from, to []string // ids of checkpoints
}

// AddFlags adds the flags that say what is expected.
func (x *Expected) AddFlags(f *pflag.FlagSet) {
	f.StringVar(&x.tenant, "tenant", "", "check only this `tenant`; default all")
	f.StringArrayVar(&x.heads, "head", nil, "check that the stream still has what bridge head printed into this `file`; may be repeated")
	f.StringArrayVar(&x.signedBy, "signed-by", nil, "check that each checkpoint is signed by this public `key`, or by another one given so")
	f.StringArrayVar(&x.from, "from", nil, "check what comes after the checkpoint with this `id`, which must be there; may be repeated, once for a tenant")
	f.StringArrayVar(&x.to, "to", nil, "check what comes up to the checkpoint with this `id`, which must be there; may be repeated, once for a tenant")
}

// Options returns what is expected as options of an auditor. The error is [reader.ErrUsage].
func (x *Expected) Options() (audit.Options, error) {
	o := audit.Options{Tenant: x.tenant, SignedBy: x.signedBy}
	for _, key := range x.signedBy {
		if !nkeys.IsValidPublicKey(key) {
			return o, fmt.Errorf("%w: --signed-by %s: not a public nkey, such as nk -inkey FILE -pubout prints", reader.ErrUsage, key)
		}
	}
	for _, name := range x.heads {
		heads, err := ReadHeads(name)
		if err != nil {
			return o, fmt.Errorf("%w: --head %w", reader.ErrUsage, err)
		}
		o.Heads = append(o.Heads, heads...)
	}
	var err error
	if o.Bounds, err = bounds.ParseWanted(x.from, x.to); err != nil {
		return o, fmt.Errorf("%w: --from and --to: %w", reader.ErrUsage, err)
	}
	return o, nil
}
