defmodule Crema.Kaffe.Config do
  @moduledoc false
  # Kaffe's configuration as options of crema's. Each option has a clause of `convert/3`, and a line
  # in docs/kaffe.md.

  alias Crema.Kaffe.{Connection, Partitions}

  @typedoc "A section of the configuration, by the names of its options."
  @type section :: %{binary => term}

  # What crema does in another way, or need not do at all.
  @nothing %{
    producer: ~w(
      auto_start_producers partition_buffer_limit partition_onwire_limit max_retries
      min_compression_batch_size
    ),
    consumer: ~w(
      auto_start_producers rebalance_delay_ms sleep_timeout prefetch_count prefetch_bytes
      subscriber_retries subscriber_retry_delay_ms client_down_retry_expire
    )
  }

  @required %{
    producer: ~w(endpoints topics),
    consumer: ~w(endpoints consumer_group topics message_handler)
  }

  # Under which of Kaffe's names crema's options were given.
  @names %{
    bootstrap_servers: :endpoints,
    partitioner: :partition_strategy,
    group: :consumer_group,
    batch_bytes: :max_bytes
  }

  @doc "The configuration of the producer."
  @spec producer() :: {:ok, section} | Crema.error()
  def producer, do: section(:producer, "producer", entry("producer"))

  @doc """
  That of a consumer: of `consumers` the one of that name, or without a name `consumer`, or the only
  one of `consumers`.
  """
  @spec consumer(term) :: {:ok, section} | Crema.error()
  def consumer(none) when none in [nil, []] do
    case {entry("consumer"), named(entry("consumers") || [])} do
      {nil, several} when map_size(several) == 1 -> consumer(several |> Map.keys() |> hd())
      {consumer, _several} -> section(:consumer, "consumer", consumer)
    end
  end

  def consumer(key) do
    name = text(key)
    section(:consumer, name, Map.get(named(entry("consumers") || []), name))
  end

  @doc "What a client starts with: options of crema's. Those that mean nothing are told once."
  @spec options(:producer | :consumer, section) :: {:ok, map} | Crema.error()
  def options(scope, section) do
    given = Map.delete(section, "crema")
    converted = for {name, value} <- given, do: {name, convert(scope, {name, value}, section)}

    faults =
      missing(scope, section) ++ for({name, {:fault, why}} <- converted, do: fault(name, why))

    case faults do
      [] ->
        tell(scope, for({name, :nothing} <- converted, do: name), unknown(converted))
        own = for {_name, options} <- converted, is_list(options), option <- options, do: option
        {:ok, own |> merged() |> Crema.Options.merge(section["crema"] || [])}

      faults ->
        :crema_option_faults.error(scope, faults)
    end
  end

  @doc """
  Options over defaults, if a client can start with them; what is wrong has its name in Kaffe's
  configuration.
  """
  @spec checked(map, map, :producer | :consumer) :: {:ok, map} | Crema.error()
  def checked(defaults, options, scope) do
    options = Crema.Options.merge(defaults, options)

    case :crema_settings.parse(scope, options) do
      {:ok, _parsed} ->
        {:ok, options}

      {:error, {:bad_options, %{faults: faults}}} ->
        own =
          for %{option: name} = fault <- faults,
              do: %{fault | option: Map.get(@names, name, name)}

        :crema_option_faults.error(scope, own)
    end
  end

  @doc "Whether null is told from empty, which Kaffe does not."
  @spec null(section) :: nil | binary
  def null(section), do: Map.get(section, "null", "")

  @doc "The name of the producer."
  @spec client_name(section) :: atom
  def client_name(section), do: Map.get(section, "client_name", :kaffe_producer_client)

  @doc "The names of all options that are known."
  @spec names(:producer | :consumer) :: [binary]
  def names(scope) do
    known =
      case scope do
        :producer ->
          ~w(client_name partition_strategy required_acks ack_timeout max_batch_size
             retry_backoff_ms compression)

        :consumer ->
          ~w(async_message_ack start_with_earliest_message offset_commit_interval_seconds
             max_bytes min_bytes max_wait_time offset_reset_policy worker_allocation_strategy)
      end

    both = ~w(heroku_kafka_env allow_topic_auto_creation sasl ssl null crema)
    Enum.sort(@required[scope] ++ both ++ known ++ @nothing[scope])
  end

  # ---- sections --------------------------------------------------------------------------

  defp entry(name), do: :crema |> Application.get_env(Crema.Kaffe, []) |> named() |> Map.get(name)

  # Both forms, and names as atoms or strings.
  defp named(pairs) when is_list(pairs) or is_map(pairs) do
    for {name, value} <- pairs, reduce: %{} do
      named -> Map.put_new(named, text(name), value)
    end
  end

  defp named(_other), do: %{}

  defp text(name) when is_binary(name) or is_atom(name), do: to_string(name)
  defp text(name), do: inspect(name)

  defp section(_scope, _name, section) when is_list(section) or is_map(section),
    do: {:ok, named(section)}

  defp section(scope, name, nil) do
    why = "is not configured: it goes under `config :crema, Crema.Kaffe`"
    :crema_option_faults.error(scope, [fault(name, why)])
  end

  defp section(scope, name, _other),
    do: :crema_option_faults.error(scope, [fault(name, "must be a keyword list or a map")])

  defp missing(scope, section) do
    for name <- @required[scope],
        not Map.has_key?(section, name),
        name != "endpoints" or section["heroku_kafka_env"] != true,
        do: fault(name, "is required")
  end

  # Of the names of options atoms are shown: those that are known here, no others get so far.
  defp fault(name, why), do: %{option: String.to_atom(name), reason: why}

  defp merged(options), do: Enum.reduce(options, %{}, &Crema.Options.merge(&2, [&1]))

  # ---- options ---------------------------------------------------------------------------

  # Options of crema's, `:nothing`, `:unknown`, or what is wrong.
  @spec convert(:producer | :consumer, {binary, term}, section) ::
          keyword | :nothing | :unknown | {:fault, binary}
  defp convert(_scope, {name, value}, section)
       when name in ~w(endpoints heroku_kafka_env sasl ssl),
       do: Connection.convert({name, value}, section)

  defp convert(_scope, {"allow_topic_auto_creation", allow}, _section),
    do: kafka("allow.auto.create.topics", allow)

  defp convert(_scope, {"null", null}, _section) when null in [nil, ""], do: []
  defp convert(_scope, {"null", _null}, _section), do: {:fault, ~s(must be "" or nil)}

  defp convert(:producer, {"topics", topics}, _section) do
    if match?([_ | _], topics), do: [], else: {:fault, "must be a list of topics"}
  end

  defp convert(:producer, {"client_name", name}, _section) do
    if is_atom(name), do: [name: name], else: {:fault, "must be an atom"}
  end

  defp convert(:producer, {"partition_strategy", strategy}, section),
    do: [partitioner: Partitions.strategy(strategy, null(section))]

  defp convert(:producer, {"required_acks", acks}, _section) when acks in [-1, :all_isr], do: []
  defp convert(:producer, {"required_acks", 1}, _section), do: loose(1)
  defp convert(:producer, {"required_acks", :leader_only}, _section), do: loose(1)
  defp convert(:producer, {"required_acks", acks}, _section) when acks in [0, :none], do: loose(0)
  defp convert(:producer, {"required_acks", _acks}, _section), do: {:fault, "must be -1, 1 or 0"}
  defp convert(:producer, {"ack_timeout", ms}, _section), do: kafka("request.timeout.ms", ms)
  defp convert(:producer, {"max_batch_size", bytes}, _section), do: kafka("batch.size", bytes)
  defp convert(:producer, {"retry_backoff_ms", ms}, _section), do: kafka("retry.backoff.ms", ms)

  defp convert(:producer, {"compression", :no_compression}, _section),
    do: kafka("compression.type", "none")

  defp convert(:producer, {"compression", codec}, _section), do: kafka("compression.type", codec)

  defp convert(:consumer, {"consumer_group", group}, _section), do: [group: group]
  defp convert(:consumer, {"topics", topics}, _section), do: [topics: topics]

  # These are whose handlers they are for.
  defp convert(:consumer, {"message_handler", handler}, _section) do
    if is_atom(handler), do: [], else: {:fault, "must be a module"}
  end

  defp convert(:consumer, {"async_message_ack", async}, _section), do: boolean(async, [])

  defp convert(:consumer, {"worker_allocation_strategy", strategy}, _section)
       when strategy in [:worker_per_partition, :worker_per_topic_partition],
       do: []

  defp convert(:consumer, {"worker_allocation_strategy", _strategy}, _section),
    do: {:fault, "must be :worker_per_partition or :worker_per_topic_partition"}

  defp convert(:consumer, {"start_with_earliest_message", earliest}, _section),
    do: boolean(earliest, start: if(earliest == true, do: :earliest, else: :latest))

  defp convert(:consumer, {"offset_reset_policy", policy}, _section) do
    case policy do
      :reset_by_subscriber -> [out_of_range: :earliest]
      :reset_to_earliest -> [out_of_range: :earliest]
      :reset_to_latest -> [out_of_range: :latest]
      _ -> {:fault, "must be :reset_by_subscriber, :reset_to_earliest or :reset_to_latest"}
    end
  end

  defp convert(:consumer, {"offset_commit_interval_seconds", seconds}, _section)
       when is_number(seconds),
       do: kafka("auto.commit.interval.ms", round(seconds * 1000))

  defp convert(:consumer, {"offset_commit_interval_seconds", _seconds}, _section),
    do: {:fault, "must be a number"}

  defp convert(:consumer, {"max_bytes", bytes}, _section), do: [batch_bytes: bytes]
  defp convert(:consumer, {"min_bytes", 0}, _section), do: []
  defp convert(:consumer, {"min_bytes", bytes}, _section), do: kafka("fetch.min.bytes", bytes)

  # librdkafka asks a broker for all of its partitions at once: one that has nothing would hold up
  # what is to come of others. Who waits for bytes wants that.
  defp convert(:consumer, {"max_wait_time", ms}, %{"min_bytes" => bytes})
       when is_integer(bytes) and bytes > 1,
       do: kafka("fetch.wait.max.ms", ms)

  defp convert(:consumer, {"max_wait_time", _ms}, _section), do: :nothing

  defp convert(scope, {name, _value}, _section),
    do: if(name in @nothing[scope], do: :nothing, else: :unknown)

  defp kafka(property, value), do: [kafka: %{property => value}]

  # crema's strict order is idempotent, which is with all acknowledgements.
  defp loose(acks), do: [ordering: :loose, kafka: %{"acks" => acks}]

  defp boolean(value, options) when is_boolean(value), do: options
  defp boolean(_value, _options), do: {:fault, "must be true or false"}

  # ---- what is told ----------------------------------------------------------------------

  # Kaffe does not mind options that it does not know, nor other sections than these.
  defp unknown(converted) do
    sections = :crema |> Application.get_env(Crema.Kaffe, []) |> named() |> Map.keys()
    for({name, :unknown} <- converted, do: name) ++ (sections -- ~w(producer consumer consumers))
  end

  defp tell(_scope, [], []), do: :ok

  defp tell(scope, nothing, unknown) do
    key = {__MODULE__, scope, nothing, unknown}

    unless :persistent_term.get(key, false) do
      :persistent_term.put(key, true)
      parts = ["mean nothing any more": nothing, "are not known": unknown]
      said = for {what, [_ | _] = names} <- parts, do: "#{what}: #{Enum.join(names, ", ")}"
      text = "Crema.Kaffe, options of a #{scope} that #{Enum.join(said, "; that ")}"
      :logger.notice("~ts. See docs/kaffe.md", [text])
    end
  end
end
