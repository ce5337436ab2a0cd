defmodule Crema do
  @moduledoc """
  Kafka for Elixir: librdkafka's protocol support, supervised the OTP way.

  This module holds what is done with a running client. The clients themselves are children of
  your own supervisor: `Crema.Producer`, and `Crema.Consumer` for a member of a consumer group.
  Messages, and the options of the functions that produce them, are described in `Crema.Message`.

      children = [
        {Crema.Producer, name: MyApp.Producer, bootstrap_servers: "localhost:9092"},
        {MyApp.OrderHandler, bootstrap_servers: "localhost:9092"}
      ]

      {:ok, report} =
        Crema.produce(MyApp.Producer, %{topic: "orders", key: "42", value: "one espresso"})

      report.offset
      #=> 0

  ## Errors

  Expected failures are `{:error, {code, details}}`: `code` is an atom, with librdkafka's own
  names in lower case, and `details` a map with at least `:message`. The functions that end in
  `!` raise `Crema.Error` with the same fields. Of several messages each has a result of its own,
  which they return: they raise when there are none.

  A time-out while waiting, `{:error, {:timeout, details}}`, is not final: the message may still
  be delivered, and `await/2` of `details.ref` tells. A delivery that failed says in
  `details.status` whether the message may be in the log all the same: `:not_persisted`,
  `:possibly_persisted` or `:persisted`.
  """

  use Crema.Bang, except: [abort: 2]

  @typedoc "A running producer, consumer or cluster: its pid or its name."
  @type client ::
          pid | atom | {:global, term} | {:via, module, term} | variant | topic | transaction

  @typedoc "A message to produce."
  @type message :: Crema.Message.produced()

  @typedoc "Where a message went."
  @type report :: Crema.Message.report()

  @typedoc "Why a call or a message failed."
  @type error :: {:error, {code :: atom, details :: map}}

  @typedoc "The report of one message: delivered, left out by a middleware, or not delivered."
  @type result :: {:ok, report | :skipped} | error

  @typedoc "Names an asynchronous call until its reports are fetched with `await/2`."
  @type ref :: :crema.ref()

  @typedoc "A producer and one of its topics: see `topic/3`."
  @type topic :: :crema.topic()

  @typedoc "A message of a topic handle: see `Crema.Topic`."
  @type topic_message :: %{optional(atom) => term}

  @typedoc "A producer with settings of its own: see `variant/2`."
  @type variant :: :crema.variant()

  @typedoc "An open transaction: a producer as well, until it ends. See `transaction/3`."
  @type transaction :: :crema.transaction()

  @typedoc "A consumer's part in its group, for `send_offsets/3`."
  @type group_metadata :: :crema.group_metadata()

  @typedoc "Options of the functions that produce: see `Crema.Message`."
  @type produce_options :: keyword | %{optional(atom) => term}

  @doc """
  Produces one message and waits for its delivery report.

      {:ok, %{partition: partition, offset: offset}} =
        Crema.produce(MyApp.Producer, %{topic: "orders", value: "one espresso"})
  """
  @spec produce(client, message | topic_message, produce_options) :: result
  def produce(producer, message, opts \\ []),
    do: :crema.produce(producer, message, Map.new(opts))

  @doc """
  Produces one message without waiting for its report.

  Returns a reference for `await/2`, or `:ok` with `report: :message` or `report: :none`.

      {:ok, ref} = Crema.produce_async(MyApp.Producer, %{topic: "orders", value: "one espresso"})
      {:ok, report} = Crema.await(ref)
  """
  @spec produce_async(client, message | topic_message, produce_options) ::
          {:ok, ref} | :ok | error
  def produce_async(producer, message, opts \\ []),
    do: :crema.produce_async(producer, message, Map.new(opts))

  @doc """
  Produces several messages with one call, the fastest way there is, and waits for all reports.

  The results stand in the order of the messages. An outer error means that nothing was sent:
  either all messages of a call are accepted or none is.

      {:ok, results} =
        Crema.produce_many(MyApp.Producer, [
          %{topic: "orders", key: "42", value: "one espresso"},
          %{topic: "orders", key: "43", value: "two macchiati"}
        ])

      Enum.all?(results, &match?({:ok, _report}, &1))
      #=> true
  """
  @spec produce_many(client, [message | topic_message], produce_options) ::
          {:ok, [result]} | error
  def produce_many(producer, messages, opts \\ []),
    do: :crema.produce_many(producer, messages, Map.new(opts))

  @doc """
  Produces several messages with one call, without waiting for their reports.

  Returns as `produce_async/3` does; `await/2` gives the results in the order of the messages.
  """
  @spec produce_many_async(client, [message | topic_message], produce_options) ::
          {:ok, ref} | :ok | error
  def produce_many_async(producer, messages, opts \\ []),
    do: :crema.produce_many_async(producer, messages, Map.new(opts))

  @doc """
  Tells that a key is gone: produces a message with that key, neither `nil` nor empty, and without
  a value. Beside the options of calls, `opts` has those of the message: `:partition`,
  `:partition_key`, `:headers`, `:timestamp` and `:label`.
  """
  @spec tombstone(client, iodata | atom, iodata, produce_options) :: result
  def tombstone(producer, topic, key, opts \\ []),
    do: :crema.tombstone(producer, topic, key, Map.new(opts))

  @doc "Like `tombstone/4`, but does not wait: returns as `produce_async/3` does."
  @spec tombstone_async(client, iodata | atom, iodata, produce_options) ::
          {:ok, ref} | :ok | error
  def tombstone_async(producer, topic, key, opts \\ []),
    do: :crema.tombstone_async(producer, topic, key, Map.new(opts))

  @doc "Like `produce_many/3`, of messages with a topic and a key, and without a value."
  @spec tombstone_many(client, [message], produce_options) :: {:ok, [result]} | error
  def tombstone_many(producer, tombstones, opts \\ []),
    do: :crema.tombstone_many(producer, tombstones, Map.new(opts))

  @doc "Like `tombstone_many/3`, but does not wait: returns as `produce_async/3` does."
  @spec tombstone_many_async(client, [message], produce_options) :: {:ok, ref} | :ok | error
  def tombstone_many_async(producer, tombstones, opts \\ []),
    do: :crema.tombstone_many_async(producer, tombstones, Map.new(opts))

  @doc """
  Waits for the report of an asynchronous call, as long as it takes.

  Only the process that made the call may wait for it.
  """
  @spec await(ref) :: result | {:ok, [result]}
  def await(ref), do: :crema.await(ref)

  @doc """
  Waits for the report of an asynchronous call, for at most `timeout` milliseconds.

  `{:error, {:timeout, _}}` is not final: the reference stays good and can be waited for again.
  """
  @spec await(ref, timeout) :: result | {:ok, [result]}
  def await(ref, timeout), do: :crema.await(ref, timeout)

  @doc """
  Waits for the reports of several asynchronous calls, for at most `timeout` milliseconds for all.

  Gives for each reference, in their order, what `await/2` returns. A report that has not come in
  time is `{:error, {:timeout, _}}` in its place, and its reference stays good.
  """
  @spec await_many([ref], timeout) :: [result | {:ok, [result]}]
  def await_many(refs, timeout), do: :crema.await_many(refs, timeout)

  @doc "Like `await_many/2`, of each what `await!/2` returns; raises for the first that failed."
  @spec await_many!([ref], timeout) :: [report | [result]]
  def await_many!(refs, timeout),
    do: refs |> await_many(timeout) |> Enum.map(&Crema.Bang.unwrap!/1)

  @doc """
  Whether `await/1` would answer at once, also because the reference is no longer good. Takes
  nothing and never waits.
  """
  @spec completed?(ref) :: boolean
  def completed?(ref), do: :crema.completed(ref)

  @doc """
  Unpacks a message that a producer sent because of `report: :message`.

  Gives the reports in it, each with its tag, or `:ignored` for a message of any other origin.

      :ok = Crema.produce_async(producer, message, report: :message, tag: 7)

      receive do
        message ->
          case Crema.reports(message) do
            [{7, {:ok, report}}] -> report.offset
            [{7, {:error, reason}}] -> raise Crema.Error, reason
            :ignored -> handle_other(message)
          end
      end
  """
  @spec reports(term) :: [{tag :: non_neg_integer, result}] | :ignored
  def reports(message), do: :crema.reports(message)

  @doc """
  Waits until everything produced so far has been reported, for at most `timeout` milliseconds.
  """
  @spec flush(client, timeout) :: :ok | error
  def flush(producer, timeout), do: :crema.flush(producer, timeout)

  @doc """
  Gives up what is not delivered yet. Each message is reported, with the status that tells
  whether it may be in the log.
  """
  @spec purge(client) :: :ok | error
  def purge(producer), do: :crema.purge(producer)

  @doc """
  How many partitions a topic has.

  A broker is asked once, for up to the producer's `:full_timeout`; a topic that it does not know is
  an error. What is older than 30 seconds is asked for anew in the background.

      {:ok, count} = Crema.partition_count(MyApp.Producer, "orders")
  """
  @spec partition_count(client, iodata | atom) :: {:ok, pos_integer} | error
  def partition_count(producer, topic), do: :crema.partition_count(producer, topic)

  @doc """
  A variant of a producer: the same client, with settings of its own, usable wherever a producer is.

      {:ok, quick} =
        Crema.variant(MyApp.Producer, timeout: 500, topic_config: [acks: 1, "message.timeout.ms": 400])

      Crema.produce(quick, %{topic: "clicks", value: "one"})

    * `:timeout`, `:on_full` and `:full_timeout`, as for the functions that produce
    * `:partitioner`, who chooses a message's partition
    * `:topic_config`, properties of the topics that are produced to by the variant: `acks`,
      `compression.type`, `compression.level`, `message.timeout.ms`, `partitioner` and
      `request.timeout.ms`
    * `:client`, `:shared` or `:own`. A client keeps the configuration that a topic is first used
      with, and a call with another one is refused with `:topic_config_conflict`; a variant with
      `client: :own` has a second client instead

  A variant of a variant has its options over that one's. It stays good when its producer is
  started again.
  """
  @spec variant(client, keyword | map) :: {:ok, variant} | error
  def variant(producer, opts), do: :crema.variant(producer, opts)

  @doc """
  The number of messages that are accepted and not reported yet; 0 without a client at present.
  """
  @spec queue_size(client) :: non_neg_integer | error
  def queue_size(producer), do: :crema.queue_size(producer)

  @doc """
  Closes the connections of a producer until its next use.

  `{:error, {:busy, _}}`, and nothing is done, while messages are outstanding, callers wait or
  a transaction is open.
  """
  @spec disconnect(client) :: :ok | error
  def disconnect(producer), do: :crema.disconnect(producer)

  @doc """
  Runs a function in a transaction of a producer that has a `transactional.id`, and commits it.

      {:ok, offset} =
        Crema.transaction(MyApp.Till, fn tx ->
          {:ok, %{offset: offset}} = Crema.produce(tx, %{topic: "sales", value: "one espresso"})
          {:ok, _} = Crema.produce_async(tx, %{topic: "ledger", value: "2.20"})
          offset
        end)

  What is produced with the handle becomes visible to readers with `isolation.level`
  `read_committed` together, or never. `{:aborted, reason}` after `abort/2`; an exception aborts and
  is raised again, and the death of the process aborts until the commit has begun. `{:error,
  {:commit_unknown, _}}` says that the outcome of a commit was lost; after any other error nothing
  is committed.

    * `:timeout`, how long to wait for the turn, in milliseconds: a producer has one transaction at a
      time (default: the producer's `:transaction_wait`)
    * `:abort_wait`, as the producer's

  Within a transaction, of its handle or of its producer, it is part of that one.
  """
  @spec transaction(client, (transaction -> value), keyword | map) ::
          {:ok, value} | {:aborted, reason :: term} | error
        when value: term
  def transaction(producer, fun, opts \\ []),
    do: :crema.transaction(producer, fun, Map.new(opts))

  @doc """
  Aborts a transaction, which then returns `{:aborted, reason}`.

  In the process that runs it, this leaves the function by a throw. In another it returns `:ok`, and
  the function goes on in vain.
  """
  @spec abort(transaction, reason :: term) :: :ok | error | no_return
  def abort(transaction, reason), do: :crema.abort(transaction, reason)

  @doc """
  Makes offsets of a consumer part of a transaction: they are committed when it is.

  `consumer` is a member of the group, or better what `group_metadata/1` told of it when the messages
  came. An offset is a message that is done with, or `{topic, partition, next}`. The consumer has the
  option `commit: :transaction`.
  """
  @spec send_offsets(
          transaction,
          client | group_metadata,
          [Crema.Consumer.message() | {binary | atom, non_neg_integer, non_neg_integer}]
        ) :: :ok | error
  def send_offsets(transaction, consumer, offsets),
    do: :crema.send_offsets(transaction, consumer, offsets)

  @doc "A consumer's part in its group, for `send_offsets/3`."
  @spec group_metadata(client) :: {:ok, group_metadata} | error
  def group_metadata(consumer), do: :crema.group_metadata(consumer)

  @doc """
  Puts a message into the producer's buffer, to be sent when it is flushed: by `flush_buffer/1`, or
  by itself at a limit (see `Crema.Producer`). Nothing is checked before.

  Waits while a full buffer is being flushed; `{:error, {:buffer_full, _}}` when that fails.

      :ok = Crema.buffer(MyApp.Producer, %{topic: "orders", value: "one espresso"})
      {:ok, [{:ok, report}]} = Crema.flush_buffer(MyApp.Producer)
  """
  @spec buffer(client, message | topic_message) :: :ok | error
  def buffer(producer, message), do: :crema.buffer(producer, message)

  @doc "Puts messages into the buffer, all of them or none."
  @spec buffer_many(client, [message | topic_message]) :: :ok | error
  def buffer_many(producer, messages), do: :crema.buffer_many(producer, messages)

  @doc """
  Sends what is in the buffer and waits for all reports, in the order of the messages.

  What could not be sent is in the buffer again afterwards, in front and in order, and the error
  says why; `details.dispatched` has the results of what was sent before it, if anything.
  """
  @spec flush_buffer(client) :: {:ok, [result]} | error
  def flush_buffer(producer), do: :crema.flush_buffer(producer)

  @doc "Like `flush_buffer/1`, for at most `timeout` milliseconds."
  @spec flush_buffer(client, timeout) :: {:ok, [result]} | error
  def flush_buffer(producer, timeout), do: :crema.flush_buffer(producer, timeout)

  @doc "Sends what is in the buffer; `await/2` gives what `flush_buffer/1` would return."
  @spec flush_buffer_async(client) :: {:ok, ref} | error
  def flush_buffer_async(producer), do: :crema.flush_buffer_async(producer)

  @doc "How many messages are in the buffer; those that are being sent are not."
  @spec buffer_size(client) :: non_neg_integer
  def buffer_size(producer), do: :crema.buffer_size(producer)

  @doc "Drops what is in the buffer, and returns how many messages that were."
  @spec purge_buffer(client) :: {:ok, non_neg_integer} | error
  def purge_buffer(producer), do: :crema.purge_buffer(producer)

  @doc """
  A handle of a producer's topic, usable wherever a producer is; its messages leave out the topic.

      {:ok, orders} = Crema.topic(MyApp.Producer, "orders", serializer: :json)
      {:ok, report} = Crema.produce(orders, %{key: "42", value: %{drink: "espresso"}})

  `Crema.Topic` tells of the options.
  """
  @spec topic(client, iodata | atom, keyword | map) :: {:ok, topic} | error
  def topic(producer, name, opts \\ []), do: :crema.topic(producer, name, opts)

  @doc """
  Produces a message by a handle's pipeline and batches; `await/2` gives its result.

  Waits for a place in them, as long as a call waits for one in a full queue.
  """
  @spec push(topic, topic_message) :: {:ok, ref} | error
  def push(topic, message), do: :crema.push(topic, message)

  @doc """
  Like `push/2`, of a message in two parts: `metadata`, for the handle's serializer, is sent as a
  header, and `data`, as it is, as the value.

      {:ok, ref} = Crema.push(images, %{camera: 1, format: "png"}, image)
      {:ok, report} = Crema.await(ref)
  """
  @spec push(topic, metadata :: term, data :: iodata | nil) :: {:ok, ref} | error
  def push(topic, metadata, data), do: :crema.push(topic, metadata, data)

  @doc """
  Ends the process of a handle that has a pipeline or batches, when all that was pushed is reported.
  """
  @spec close_topic(topic, timeout) :: :ok | error
  def close_topic(topic, timeout), do: :crema.close_topic(topic, timeout)

  # What other modules tell of, here too, and with `!`.
  for {module, functions} <- [
        {Crema.Ack, [ack: [:tokens], ack: [:tokens, :timeout], nack: [:tokens]]},
        {Crema.Ack, [nack: [:tokens, :reason]]},
        {Crema.Control, [pause: [:consumer, :partitions], resume: [:consumer, :partitions]]},
        {Crema.Control, [seek: [:consumer, :partitions, :where], commit: [:consumer]]},
        {Crema.Control, [commit: [:consumer, :partitions]]},
        {Crema.Config, [explain_config: [:config]]},
        {Crema.Check, [check: [:opts]]}
      ],
      {name, args} <- functions,
      name <- [name, :"#{name}!"] do
    @doc "The same as `#{inspect(module)}.#{name}/#{length(args)}`."
    defdelegate unquote(name)(unquote_splicing(Enum.map(args, &Macro.var(&1, nil)))), to: module
  end

  defdelegate delegate(tokens, pid), to: Crema.Ack
  defdelegate stream(opts), to: Crema.Reader
  defdelegate fold(opts, acc, fun), to: Crema.Reader
  defdelegate fold!(opts, acc, fun), to: Crema.Reader

  @doc "What this build of crema is: librdkafka's version, its features, what is being ended."
  @spec info() :: map
  def info, do: :crema.info()

  @doc "Facts about one client."
  @spec info(client) :: map
  def info(client), do: :crema.info(client)

  @doc """
  The state of a client, at once and from memory: fit for a health probe.

  `:connected`, `:fatal` and `:state`, which is `:connecting` or `:connected`, for producers also
  `:idle`, `:disconnected`, `:reloading` and `:stopping`.
  """
  @spec status(client) :: map
  def status(client), do: :crema.status(client)

  @doc """
  librdkafka's statistics of a producer or consumer, the last that came: a map with binaries as
  keys, with changes as `:crema_statistics.decorate/3` tells.

  `{:error, {:not_enabled, _}}` unless `"statistics.interval.ms"` is set under `:kafka`.
  """
  @spec statistics(client) :: {:ok, :crema_statistics.statistics()} | error
  def statistics(client), do: :crema.statistics(client)

  @doc """
  Waits until a producer is connected, or a consumer has joined its group.

  Starting a client never waits for the network; this does, for at most `timeout` milliseconds.
  """
  @spec await_ready(client, timeout) :: :ok | error
  def await_ready(client, timeout), do: :crema.await_ready(client, timeout)
end
