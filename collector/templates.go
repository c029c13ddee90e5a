package main

import (
	"errors"
	"net/netip"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/netsampler/goflow2/v2/decoders/netflow"
)

// maxFields is the most fields of a template. Routers use some dozens.
const maxFields = 256

var (
	errFields = errors.New("template has more than 256 fields, or more fields than bytes in a record")
	errEmpty  = errors.New("template has no field of fixed length")
)

// templates are those of NetFlow v9 and IPFIX that one decoder knows. Exporters are not
// authenticated, so there is a bound on their number, and each is checked: the library
// would read records of no bytes without end.
//
// The cache is a 2Q one (Johnson and Shasha, VLDB 1994): templates that were used keep
// their places while others are sent and never used.
type templates struct {
	cache *lru.TwoQueueCache[templateKey, *template]
}

type templateKey struct {
	exporter netip.Addr
	domain   uint32 // observation domain, or source ID
	version  uint16
	id       uint16
}

// template is what the library has decoded, and the names of its fields.
type template struct {
	record         any
	scopes, fields []field
}

func newTemplates(n int) *templates {
	cache, err := lru.New2Q[templateKey, *template](max(n, 1))
	if err != nil { // the size is positive
		panic(err)
	}
	return &templates{cache}
}

// decoding is the view that the library has of the templates while it decodes one
// datagram.
type decoding struct {
	templates *templates
	exporter  netip.Addr
	used      []*template // of the data sets, in their order
}

var _ netflow.NetFlowTemplateSystem = (*decoding)(nil)

func (d *decoding) key(version uint16, domain uint32, id uint16) templateKey {
	return templateKey{d.exporter, domain, version, id}
}

// AddTemplate implements netflow.NetFlowTemplateSystem. Its error ends the decoding of
// the datagram.
func (d *decoding) AddTemplate(version uint16, domain uint32, id uint16, record any) error {
	t := &template{record: record}
	names := newNames()
	switch r := record.(type) {
	case netflow.TemplateRecord:
		t.fields = names.fields(r.Fields)
	case netflow.IPFIXOptionsTemplateRecord:
		t.scopes = names.fields(r.Scopes)
		t.fields = names.fields(r.Options)
	case netflow.NFv9OptionsTemplateRecord:
		t.scopes = names.scopes(r.Scopes)
		t.fields = names.fields(r.Options)
	}
	switch {
	case names.count == 0: // a withdrawal, which means nothing over UDP (RFC 7011, section 8.4)
		return nil
	case names.count > maxFields, names.count > names.shortest:
		return errFields
	case names.fixed == 0:
		return errEmpty
	}
	d.templates.cache.Add(d.key(version, domain, id), t)
	return nil
}

// GetTemplate implements netflow.NetFlowTemplateSystem.
func (d *decoding) GetTemplate(version uint16, domain uint32, id uint16) (any, error) {
	t, ok := d.templates.cache.Get(d.key(version, domain, id))
	if !ok {
		return nil, netflow.ErrorTemplateNotFound
	}
	d.used = append(d.used, t)
	return t.record, nil
}

// RemoveTemplate implements netflow.NetFlowTemplateSystem. Decoding does not need it.
func (d *decoding) RemoveTemplate(uint16, uint32, uint16) (any, error) {
	return nil, netflow.ErrorTemplateNotFound
}

// GetTemplates implements netflow.NetFlowTemplateSystem. Decoding does not need it.
func (d *decoding) GetTemplates() netflow.FlowBaseTemplateSet { return nil }
