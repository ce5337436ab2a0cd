defmodule Crema.Producer do
  @moduledoc """
  A producer, as a child of your own supervisor.

      children = [
        {Crema.Producer,
         name: MyApp.Producer,
         bootstrap_servers: "broker1:9092,broker2:9092",
         kafka: ["compression.codec": "lz4", "linger.ms": 5]}
      ]

  `Crema.produce/3` and its relatives then take `MyApp.Producer` as their first argument.

  ## Options

  A keyword list or a map:

    * `:bootstrap_servers` (required, unless `:env` has it), `"host:port,..."` or a list of such
      strings; the port is 9092 where none is given
    * `:name`, as for a `GenServer`: an atom, `{:global, term}` or `{:via, module, term}`
    * `:kafka`, librdkafka's own properties, passed on as they are: a map or a keyword list. The
      value of a secret may be a function of no arguments; it is called when the client is made
      and its result appears in no log and no state
    * `:env`, environment variables to read at the start, under the options given: `:heroku`,
      `{:heroku, name}` or `{:prefix, name}` (see `Crema.Config`)
    * `:prefix`, what the names of topics begin with; it is added to those that do not
    * `:oauth_token`, a function that gets the tokens of SASL OAUTHBEARER (see `Crema.Sasl`);
      `:oauth_timeout` (30_000 ms), how long it may take; `:oauth_backoff` (`{1000, 60_000}` ms),
      the wait before it is called again when it has failed
    * `:statistics_deltas`, `:metrics` (the default), `:all` or a list of fields: which numbers of
      `Crema.statistics/1` are told with their change
    * `:ordering`, `:strict` (the default: idempotent, `acks=all`) or `:loose`
    * `:max_queue_messages` (100_000) and `:max_queue_bytes` (268_435_456), the limits of what may
      wait for its delivery report
    * `:on_full`, `:wait` (the default) or `:error`, and `:full_timeout` (10_000 ms)
    * `:request_timeout` (180_000 ms), how long a synchronous call waits for its report
    * `:flush_timeout` (10_000 ms), how long stopping waits for outstanding reports; what is left
      then is reported as failed
    * `:max_unclaimed` (100_000), how many reports are kept for `Crema.await/2`
    * `:events`, a list of `:calls` and `:reports` (none by default): whether each call and the
      delivery reports send events, and `:max_event_reports` (1000), how many reports one event
      lists
    * `:max_payload_size` (1_000_012), the bytes that the value of a message may have
    * `:partitioner`, who chooses the partition of a message that has none: `:consistent_random`
      (the default), `:consistent`, `:murmur2_random` (as Java's clients), `:murmur2`,
      `:fnv1a_random`, `:fnv1a`, `:random`, `:round_robin`, `:md5` (Kaffe's), a function of topic,
      number of partitions, key and value, or `{module, function, args}`
    * `:topic_partitioners`, the same for single topics: `%{"orders" => :round_robin}`
    * `:middleware`, what every message goes through first: see `middleware/2`
    * `:connect`, `:start` (the default) or `:use`: when to connect, at once or at the first use
    * `:idle_disconnect` (0 ms: never), when nothing was produced for so long (or up to twice that)
      the connections are closed until the next use; at least 30_000
    * `:on_fatal`, `:stop` (the default) or `:reload`: what follows a fatal error
    * `:reload_attempts` (10), new clients in a row, none of which delivers a message; then the
      producer stops
    * `:reload_backoff`, `{1_000, 30_000}` ms: the wait before a new client is made, doubled from
      the first to the last
    * `:never_reload`, a list of codes of fatal errors after which the producer stops for good,
      beside those of being fenced
    * `:on_reload`, a function of one argument (or `{module, function, args}`), called before a new
      client is made with a map of `:error`, `:attempt` and `:kafka`; it returns `:keep` or
      `{:kafka, properties}`
    * `:buffer_messages` (10_000) and `:buffer_bytes` (16_777_216), the limits at which the buffer
      (`Crema.buffer/2`) flushes itself, and `:buffer_age` (0 ms), the age of its first message at
      which it does, unless 0
    * `:buffer_report`, a function of the outcome of such a flush, or `{module, function, args}`
    * `:record` (`false`), for tests: `true`, or a map with topics' numbers of partitions (4 else).
      Messages are recorded (see `Crema.Test`) and not sent, and there need be no broker

  Of a producer with a `transactional.id` (see `Crema.transaction/3`):

    * `:transaction_wait` (60_000 ms), how long a transaction waits for its turn, and its end for an
      abort
    * `:transaction_attempts` (5), how often a step of a transaction is tried that may succeed later
    * `:transaction_backoff` (500 ms), the wait before the second try; before the third it is twice as
      long, and so on
    * `:abort_wait` (10_000 ms), how long an abort waits at most for the first report of the
      transaction, which spares librdkafka a fatal error; 0: not at all

  Starting never waits for the network: see `Crema.await_ready/2`.
  """

  use Crema.Bang

  @typedoc "The options above."
  @type options :: keyword | %{optional(atom) => term}

  @doc "The child specification for a supervisor; its shutdown time leaves room for the flush."
  @spec child_spec(options) :: Supervisor.child_spec()
  def child_spec(opts), do: Crema.Options.child_spec(opts, &:crema_producer.child_spec/1)

  @typedoc """
  A function of the message, `{module, function, args}` (the message comes before the arguments),
  or a module with `handle_message(message, args)`, the behaviour `:crema_middleware`.
  """
  @type middleware ::
          (Crema.message() -> {:ok, Crema.message()} | :skip | {:error, term})
          | {module, atom, list}
          | {module, args :: term}
          | module

  @doc "Starts a producer linked to the caller."
  @spec start_link(options) :: {:ok, pid} | {:error, term}
  def start_link(opts), do: :crema_producer.start_link(opts)

  @doc """
  Stops a producer: it flushes first, for its `:flush_timeout`. Every outstanding message is
  reported. Stopping one that has stopped already is fine. A process that runs a transaction of the
  producer cannot stop it: `{:error, {:in_transaction, _}}`.
  """
  @spec stop(Crema.client()) :: :ok | Crema.error()
  def stop(producer), do: :crema_producer.stop(producer)

  @doc "Like `stop/1`, flushing for at most `timeout` milliseconds; with 0 it purges at once."
  @spec stop(Crema.client(), timeout) :: :ok | Crema.error()
  def stop(producer, timeout), do: :crema_producer.stop(producer, timeout)

  @doc """
  Changes the middleware of a producer that was started with the option `:middleware`, be it `[]`.

  Each message of a call goes through it in the calling process: what comes out as `{:ok, message}`
  is sent, after `:skip` the message's result is `{:ok, :skipped}`, and `{:error, reason}` refuses
  the call.

      {:ok, producer} =
        Crema.Producer.start_link(bootstrap_servers: "localhost:9092", middleware: [])

      :ok = Crema.Producer.middleware(producer, {:append, &{:ok, Map.put(&1, :key, "k")}})
  """
  @spec middleware(Crema.client(), {:append | :prepend | :remove, middleware}) ::
          :ok | Crema.error()
  def middleware(producer, change), do: :crema_producer.middleware(producer, change)
end
