defmodule Crema.Consumer do
  @moduledoc """
  A member of a consumer group, and the behaviour of the module that handles its messages.

      defmodule MyApp.OrderHandler do
        use Crema.Consumer, group: "orders", topics: ["orders"]

        @impl true
        def handle_message(%{key: key, value: value}, state) do
          :ok = MyApp.Orders.store(key, value)
          {:ack, state}
        end
      end

      children = [
        {MyApp.OrderHandler, bootstrap_servers: "localhost:9092"}
      ]

  Each partition that is assigned to the member gets a process of its own, which calls the handler
  with one message after the other. A crash of a handler is that partition's alone: the process is
  started again, after a pause, and is given again what was not acknowledged. Delivery is at least
  once.

  ## Callbacks

  A handler has `c:handle_message/2` or, for whole batches, `c:handle_messages/2`; all others are
  optional. They are called in the partition's process.

  ## Messages

  A message is a `Crema.Message`: a struct with `:topic`, `:partition`, `:offset`, `:key`, `:value`,
  `:headers` (a list of `{name, value}`), `:timestamp` (ms), `:timestamp_type` and `:token`, which
  acknowledges it. With the option `message: :map` it is a map of the same fields. A null key, value or
  header value is `nil`, an empty one is `""`. (Erlang's `:undefined` stands for null with the option
  `null: :undefined`.)

  ## Logger

  What a handler logs has `:crema_group`, `:crema_topic` and `:crema_partition` in its metadata, and
  in `c:handle_messages/2` `:crema_offset`, that of the batch's first message; in `c:handle_message/2`
  only with the option `:log_offset`. crema's own lines have `:crema_client` and, where they
  apply, `:crema_code` and the same.

      config :logger, :console, metadata: [:crema_topic, :crema_partition]

  ## The module

  What `use Crema.Consumer` is given is checked when the module is compiled, as far as it is written
  there: an option that is unknown or has a wrong value, and a handler without a callback for messages
  or with one of another number of arguments, are a `CompileError`. `child_spec/1` and `start_link/1`,
  which it defines, may be overridden; a supervisor calls a `start_link/1` of the module's own with
  what the child was given.

  `:id`, `:restart` and `:shutdown`, given to `use` or to the child, are those of the child
  specification, as `Supervisor.child_spec/2` has them. Unless they are given the child is known by
  its name, or else by the module, and is started again when it has crashed (`:transient`).

  ## Options

  A keyword list or a map. `use Crema.Consumer` takes defaults for them, which are evaluated when
  the child specification is made; those given to the child go over them, under `:kafka` one
  property at a time.

    * `:bootstrap_servers` (required, unless `:env` has it), `"host:port,..."` or a list of such
      strings; the port is 9092 where none is given
    * `:group` (required), the name of the consumer group
    * `:topics` (required), a list of topics; one that begins with `^` is a pattern
    * `:handler`, `module` or `{module, args}`, a function of one argument, which returns `:ok`, or
      `{module, function}`; with `use Crema.Consumer` it is the module itself unless it is given
    * `:args`, with `use Crema.Consumer` only: the second argument of `init/2` (`nil`), or the state
      if there is no `init/2`
    * `:name`, as for a `GenServer`; with `use Crema.Consumer` often `__MODULE__`
    * `:kafka`, librdkafka's own properties, passed on as they are: a map or a keyword list
    * `:env`, environment variables to read at the start, under the options given: `:heroku`,
      `{:heroku, name}` or `{:prefix, name}` (see `Crema.Config`)
    * `:prefix`, what the names of topics and the group begin with; it is added to those that do not
    * `:strip_prefix` (`false`), whether the handler is told of topics without that prefix
    * `:log_offset` (`false`), whether what a handler logs of a single message has its offset in the
      metadata as well
    * `:oauth_token`, a function that gets the tokens of SASL OAUTHBEARER (see `Crema.Sasl`);
      `:oauth_timeout` (30_000 ms), how long it may take; `:oauth_backoff` (`{1000, 60_000}` ms),
      the wait before it is called again when it has failed
    * `:statistics_deltas`, `:metrics` (the default), `:all` or a list of fields: which numbers of
      `Crema.statistics/1` are told with their change
    * `:start`, `:earliest` (the default), `:latest`, a time in milliseconds or `:error`: where a
      group begins that has committed nothing yet
    * `:out_of_range`, `:earliest` (the default), `:latest` or `:error`: where to go on when the
      position is no longer in the log
    * `:message`, what a message is: `:struct` (the default here), a `Crema.Message`, or `:map`
    * `:null`, what stands for null in messages: `nil` (the default here) or `:undefined`
    * `:batch_messages` (1_000) and `:batch_bytes` (262_144), how much is delivered to a partition's
      process at once
    * `:prefetch` (67_108_864 bytes), memory that fetched messages may take, of all partitions
      together, until they are acknowledged
    * `:batch_age` (0 ms), how long a batch for `handle_messages/2` may wait until it has that much
    * `:max_in_flight` (10_000), messages of a partition that are delivered and not acknowledged
    * `:ack_timeout` (0 ms: off), after which a message that is to be acknowledged later has failed;
      `:remote_ack_timeout` (60_000 ms), the same for one that is left to a process of another node
    * `:backoff`, `{min, max}` in milliseconds (`{100, 10_000}`): the pause before a message is
      handled again
    * `:concurrency` (1), how many messages of a partition are handled at a time, in order;
      `{:key, n}`: those of a key in order; `{:any, n}`: in no order
    * `:drain_timeout` (5_000 ms), how long a revoked partition may finish what it is doing
    * `:commit`, `:auto` (the default: what is acknowledged is committed), `:transaction` (only what
      `Crema.send_offsets/3` sends within a transaction), `:exactly_once` (in transactions of the
      consumer's own, with what its handler has produced) or `:external` (nothing: `init/2` says where
      to begin)
    * `:transactional_id`, for `:exactly_once`: that of the consumer's producer, which no other client
      may have; else the group and `group.instance.id`
    * `:transaction_interval` (100 ms) and `:transaction_bytes` (16_777_216), how long and how
      much a transaction gathers
    * `:producer`, options of that producer
    * `:stop_timeout` (10_000 ms), how long stopping may take
    * `:failures`, what follows a failure: a list of `{match, policy}`, or one policy (see
      `Crema.DeadLetter` for an example)
    * `:fatal`, a function of a failure that says whether the consumer stops for it
    * `:dead_letter`, a topic; or a map of `:topic` and, unless the consumer is to have one of its
      own, `:producer`
    * `:retry_topics`, a list of `{topic, milliseconds}`
    * `:max_restarts`, `:infinity` (the default), or `{count, milliseconds, :stop | :pause}`
    * `:handler_timeout`, how long a handler may take for a message or batch, in milliseconds or
      `:infinity` (`max.poll.interval.ms`)
  """

  @typedoc "The options above."
  @type options :: keyword | %{optional(atom) => term}

  @typedoc "A consumed message."
  @type message :: Crema.Message.t()

  @typedoc "The handler's own."
  @type state :: term

  @typedoc """
  What a handler is started for, and told of; `:worker`, with the option `:concurrency`, is the number
  of the state's worker, from 1 on.
  """
  @type info :: %{
          required(:topic) => binary,
          required(:partition) => non_neg_integer,
          required(:consumer) => pid,
          optional(:worker) => pos_integer
        }

  @typedoc """
  What becomes of a message, or of all messages of a batch:

    * `{:ack, state}`: the message is done, or `:ok`: the same, with the state as it was
    * `{:produce, messages, state}`: the message is done, and these came of it, exactly once (with
      `commit: :exactly_once`)
    * `{:noack, state}`: it is acknowledged later, by any process: see `Crema.Ack`
    * `{:ack, up_to, state}`: of a batch, those up to that offset are done, and the others come again
      at once
    * `{:error, reason, state}`: it failed, and is to be handled again, after a pause
    * `{:retry, millis, state}`: it is to be handled again after so long, which is no failure
    * `{:skip, reason, state}`, `{:skip, state}`: it is done with and was not handled, says an event
    * `{:dead_letter, reason, state}`: it goes to the dead-letter topic (see `Crema.DeadLetter`), and
      is done with then
    * `{:pause, millis, state}`: it is done; nothing of this partition for so long
    * `{:stop, reason, state}`: it is not done, and the whole consumer stops
  """
  @type verdict ::
          :ok
          | {:ack, state}
          | {:produce, [Crema.message()], state}
          | {:noack, state}
          | {:ack, up_to :: integer, state}
          | {:error, reason :: term, state}
          | {:retry, millis :: non_neg_integer, state}
          | {:skip, state}
          | {:skip, reason :: term, state}
          | {:dead_letter, reason :: term, state}
          | {:pause, millis :: non_neg_integer, state}
          | {:stop, reason :: term, state}

  @typedoc "What the callbacks return that only change the state."
  @type told :: {:ok, state} | {:stop, reason :: term, state}

  @typedoc "Why a handler ends: `:reset` begins again at another offset, a crash after a pause."
  @type why :: :revoked | :lost | :stopped | :reset | {:crash, :error | :exit | :throw, term}

  @doc "Handles one message."
  @callback handle_message(message, state) :: verdict

  @doc "Handles a whole batch, in order; the result is that of all of them."
  @callback handle_messages([message, ...], state) :: verdict

  @doc """
  The handler's first state for one partition, and, as `start: where`, where it begins instead of
  what is committed. Called again after a crash. Without it the state is the option `:args`.
  """
  @callback init(info, args :: term) ::
              {:ok, state}
              | {:ok, state, [start: Crema.Control.where()] | %{start: Crema.Control.where()}}

  @doc "The partition was assigned: once, after the first `c:init/2`."
  @callback handle_assigned(info, state) :: told

  @doc """
  The partition is given up, or the consumer stops; what is acknowledged here is committed still.
  """
  @callback handle_revoked(info, state) :: told

  @doc "The partition was taken away, and nothing can be committed."
  @callback handle_lost(info, state) :: told

  @doc "An error of the partition; each once until messages come again."
  @callback handle_error({code :: atom, details :: map}, state) :: told

  @doc "Any other message to the partition's process."
  @callback handle_info(term, state) :: told

  @doc "The last call, also after a crash, then with the state before it."
  @callback terminate(why, state) :: term

  @optional_callbacks init: 2,
                      handle_message: 2,
                      handle_messages: 2,
                      handle_assigned: 2,
                      handle_revoked: 2,
                      handle_lost: 2,
                      handle_error: 2,
                      handle_info: 2,
                      terminate: 2

  @doc false
  defmacro __using__(defaults) do
    :ok = Crema.Consumer.Checks.options!(defaults, __CALLER__)

    quote location: :keep do
      @behaviour Crema.Consumer
      @before_compile Crema.Consumer.Checks

      if not unquote(Crema.Consumer.Checks.handler?(defaults)) do
        @after_compile Crema.Consumer.Checks
      end

      @doc false
      def child_spec(opts) do
        Crema.Consumer.child_spec(__MODULE__, unquote(defaults), opts)
      end

      @doc false
      def start_link(opts \\ []) do
        Crema.Consumer.start_link(__MODULE__, unquote(defaults), opts)
      end

      @doc false
      def __crema_options__(opts) do
        Crema.Consumer.__options__(__MODULE__, unquote(defaults), opts)
      end

      defoverridable child_spec: 1, start_link: 0, start_link: 1
    end
  end

  @doc "The child specification for a supervisor; the member keeps its own `:stop_timeout`."
  @spec child_spec(options) :: Supervisor.child_spec()
  def child_spec(opts) do
    opts |> to_erlang() |> Crema.Options.child_spec(&:crema_consumer.child_spec/1)
  end

  @doc "Starts a member of a consumer group linked to the caller."
  @spec start_link(options) :: {:ok, pid} | {:error, term}
  def start_link(opts), do: opts |> to_erlang() |> :crema_consumer.start_link()

  @doc """
  Stops a member: handlers finish their message, what is acknowledged is committed, the group is
  left. Stopping one that has stopped already is fine.
  """
  @spec stop(Crema.client()) :: :ok
  def stop(consumer), do: :crema_consumer.stop(consumer)

  @doc "Like `stop/1`, within `timeout` milliseconds."
  @spec stop(Crema.client(), timeout) :: :ok
  def stop(consumer, timeout), do: :crema_consumer.stop(consumer, timeout)

  @doc false
  @spec child_spec(module, options, options) :: Supervisor.child_spec()
  def child_spec(module, defaults, opts) do
    whole = with_handler(module, defaults, opts)
    spec = whole |> Map.put_new(:id, Map.get(whole, :name, module)) |> child_spec()

    if module.__crema_own_start__(),
      do: %{spec | start: {__MODULE__, :start_own, [module, :crema_secret.hide(opts)]}},
      else: spec
  end

  # Supervisors show arguments.
  @doc false
  @spec start_own(module, :crema_secret.hidden()) :: term
  def start_own(module, {:crema_secret, opts}), do: module.start_link(opts.())

  @doc false
  @spec start_link(module, options, options) :: {:ok, pid} | {:error, term}
  def start_link(module, defaults, opts) do
    module |> with_handler(defaults, opts) |> Crema.Options.drop_child() |> start_link()
  end

  # For tests, which give it messages without a consumer.
  @doc false
  @spec __options__(module, options, options) :: map
  def __options__(module, defaults, opts) do
    module |> with_handler(defaults, opts) |> Crema.Options.drop_child()
  end

  defp with_handler(module, defaults, opts) do
    case Crema.Options.merge(defaults, opts) do
      %{handler: _} = opts ->
        opts

      opts ->
        {args, opts} = Map.pop(opts, :args)
        Map.put(opts, :handler, {module, args})
    end
  end

  defp to_erlang(opts), do: Crema.Options.for_elixir(opts)
end
