// The workloads of the benchmark done by franz-go, with crema's defaults where franz-go has
// them: one run, one line of JSON. See ../../README.md.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

var (
	workload  = flag.String("w", "", "workload")
	client    = flag.String("c", "franz-go", "client")
	bootstrap = flag.String("b", "", "brokers")
	topic     = flag.String("t", "", "topic")
	messages  = flag.Int64("n", 100000, "messages")
	size      = flag.Int("s", 100, "value size")
)

func main() {
	command := os.Args[1]
	flag.Int("B", 0, "unused: a call takes one message")
	if err := flag.CommandLine.Parse(os.Args[2:]); err != nil {
		fail(err)
	}
	switch command {
	case "produce":
		produce()
	case "consume":
		consume()
	default:
		fail(fmt.Errorf("unknown command: %s", command))
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "franz_go:", err)
	os.Exit(1)
}

func newClient(more ...kgo.Opt) *kgo.Client {
	own := []kgo.Opt{kgo.SeedBrokers(strings.Split(*bootstrap, ",")...)}
	cl, err := kgo.NewClient(append(own, more...)...)
	if err != nil {
		fail(err)
	}
	return cl
}

// Idempotence is franz-go's default. Records are used again once they are reported, so that
// nothing is allocated for a message; all have one value, as in C.
func produce() {
	cl := newClient(
		kgo.DefaultProduceTopic(*topic),
		kgo.RequiredAcks(kgo.AllISRAcks()),
		kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.ProducerLinger(time.Millisecond),
		kgo.MaxBufferedRecords(100000),
	)
	defer cl.Close()
	ctx := context.Background()
	warm := &kgo.Record{Value: []byte("w")}
	if err := cl.ProduceSync(ctx, warm).FirstErr(); err != nil {
		fail(err)
	}
	value := []byte(strings.Repeat("x", *size))
	pool := sync.Pool{New: func() any { return new(kgo.Record) }}
	var delivered atomic.Int64
	promise := func(r *kgo.Record, err error) {
		if err != nil {
			fail(err)
		}
		delivered.Add(1)
		pool.Put(r)
	}
	from := now()
	for i := int64(0); i < *messages; i++ {
		r := pool.Get().(*kgo.Record)
		*r = kgo.Record{Value: value}
		cl.Produce(ctx, r, promise)
	}
	if err := cl.Flush(ctx); err != nil {
		fail(err)
	}
	to := now()
	if delivered.Load() != *messages {
		fail(fmt.Errorf("%d of %d messages are reported", delivered.Load(), *messages))
	}
	result(*messages, from, to)
}

// From the first arrival to the last, without a group, as in C.
func consume() {
	cl := newClient(
		kgo.ConsumeTopics(*topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchMaxWait(100*time.Millisecond),
	)
	defer cl.Close()
	var got int64
	var from moment
	for got < *messages {
		fetches := cl.PollFetches(context.Background())
		if err := fetches.Err(); err != nil {
			fail(err)
		}
		if got == 0 {
			from = now()
		}
		got += int64(fetches.NumRecords())
	}
	result(got, from, now())
}

type moment struct {
	at    time.Time
	usage syscall.Rusage
}

func now() (m moment) {
	m.at = time.Now()
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &m.usage); err != nil {
		fail(err)
	}
	return m
}

func (m moment) cpu() float64 {
	return time.Duration(m.usage.Utime.Nano() + m.usage.Stime.Nano()).Seconds()
}

func result(count int64, from, to moment) {
	seconds := to.at.Sub(from.at).Seconds()
	fmt.Printf("{\"workload\":\"%s\",\"client\":\"%s\",\"messages\":%d,\"size\":%d,\"seconds\":%.4f,"+
		"\"peak_mb\":%.4f,\"rate\":%.4f,\"cpu_seconds_per_million\":%.4f}\n",
		*workload, *client, count, *size, seconds, float64(to.usage.Maxrss)/1024,
		float64(count)/seconds, (to.cpu()-from.cpu())*1e6/float64(count))
}
