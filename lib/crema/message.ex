defmodule Crema.Message do
  @moduledoc """
  Messages: those that handlers and readers are given, which are structs of this module, and those
  to produce, which are maps.

      def handle_message(%Crema.Message{topic: topic, key: key, value: value}, state) do

  A null key, value or header value is `nil`, an empty one is `""`. `inspect/2` shows a message in
  short, for values may be large and anything but text. Keys, values and headers are parts of a whole
  batch: what is kept for long is better copied (`:binary.copy/1`).

  ## To produce

  A map:

    * `:topic` (required), a string or an atom
    * `:value` and `:key`, iodata or `nil`; `nil` is Kafka's null and `""` is empty, two
      different things
    * `:partition`, an integer; left out, the producer's partitioner decides by the key
    * `:partition_key`, iodata by which the partitioner decides instead; it is not sent
    * `:headers`, a list of `{name, value}` pairs (order and repeats are kept) or a map, in which a
      name may have a list of values
    * `:timestamp`, a `DateTime` or milliseconds; left out, it is the time of the call
    * `:label`, any term, given back in the delivery report

  A tombstone is a message with a key and without a value (`Crema.tombstone/4`).

  ## Options of the functions that produce

  Keyword lists or maps:

    * `:timeout`, how long a synchronous call waits for its reports, in milliseconds or
      `:infinity` (default: the producer's `:request_timeout`)
    * `:on_full`, `:wait` or `:error`: what a call does while the producer's queue is full
      (default: the producer's own setting)
    * `:full_timeout`, how long it waits then, in milliseconds
    * `:report`, asynchronous calls only: `:await` (the default; see `Crema.await/2`), `:message`
      (the caller is sent messages; see `Crema.reports/1`), `:none`, or a callback: a function of
      one argument or `{module, function, args}`, called with the result of each message (before
      `args`) in a process of the producer's. Until it returns the message keeps its place in the
      queue
    * `:partitioner`, who chooses partitions: as the option of `Crema.Producer`, for this call
    * `:tag`, with `report: :message`, the number that `Crema.reports/1` gives back with the
      report (0); the messages of one call are numbered from it on
  """

  defstruct [
    :topic,
    :partition,
    :offset,
    :key,
    :value,
    :timestamp,
    :timestamp_type,
    :token,
    headers: []
  ]

  @typedoc """
  A message that was consumed or read. `:token` acknowledges it (see `Crema.Ack`); one that was
  read has none. The timestamp is in milliseconds, of its creation or of its appending to the log.
  """
  @type t :: %__MODULE__{
          topic: binary,
          partition: non_neg_integer,
          offset: non_neg_integer,
          key: binary | nil | :undefined,
          value: binary | nil | :undefined,
          headers: [{binary, binary | nil | :undefined}],
          timestamp: integer,
          timestamp_type: :create | :append | :undefined,
          token: :crema_consumer.token() | nil
        }

  @typedoc "A message to produce."
  @type produced :: %{
          required(:topic) => iodata | atom,
          optional(:value) => iodata | nil | :undefined,
          optional(:key) => iodata | nil | :undefined,
          optional(:partition) => integer,
          optional(:partition_key) => iodata | nil | :undefined,
          optional(:headers) =>
            [{iodata, iodata | nil}] | %{optional(iodata) => iodata | nil | [iodata | nil]},
          optional(:timestamp) => integer | DateTime.t(),
          optional(:label) => term
        }

  @typedoc """
  Where a message went. With `acks=0` nobody knows the offset, and it is negative. Reports that
  come as messages (`Crema.reports/1`) have neither topic nor label: the tag tells whose they are.
  """
  @type report :: %{
          required(:partition) => integer,
          required(:offset) => integer,
          required(:timestamp) => integer,
          optional(:topic) => binary,
          optional(:label) => term
        }
end
