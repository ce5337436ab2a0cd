defmodule Crema.KaffeConfigTest do
  # What Kaffe's options are in crema's. The configuration is the whole VM's.
  use ExUnit.Case, async: false

  alias Crema.Kaffe.Config
  alias Crema.KaffeSupport, as: Configured

  @producer [endpoints: [kafka: 9092], topics: ["orders"]]
  @consumer [
    endpoints: [kafka: 9092],
    topics: ["orders"],
    consumer_group: "baristas",
    message_handler: Crema.KaffeConfigTest
  ]

  def handle_messages(_messages), do: :ok

  defp options(scope, own) do
    section = if scope == :producer, do: @producer, else: @consumer
    section |> Keyword.merge(own) |> given(scope)
  end

  defp given(section, scope) do
    name = if scope == :producer, do: :producer, else: :consumer
    Configured.configure([{name, section}])
    {:ok, section} = if scope == :producer, do: Config.producer(), else: Config.consumer([])
    Config.options(scope, section)
  end

  test "options of Kaffe's are options of crema's" do
    for {scope, own, becomes} <- [
          {:producer, [], %{bootstrap_servers: [kafka: 9092]}},
          {:producer, [endpoints: [{"a", 1}, {~c"b", 2}]],
           %{bootstrap_servers: [{"a", 1}, {~c"b", 2}]}},
          {:producer, [endpoints: "kafka://a:1, b:2"], %{bootstrap_servers: "a:1,b:2"}},
          {:producer, [endpoints: "kafka+ssl://a:1"],
           %{bootstrap_servers: "a:1", kafka: %{"security.protocol" => "ssl"}}},
          {:producer, [client_name: :till], %{name: :till}},
          {:producer, [partition_strategy: :round_robin], %{partitioner: :round_robin}},
          {:producer, [required_acks: -1], %{}},
          {:producer, [required_acks: 1], %{ordering: :loose, kafka: %{"acks" => 1}}},
          {:producer, [required_acks: 0], %{ordering: :loose, kafka: %{"acks" => 0}}},
          {:producer, [ack_timeout: 1_000, max_batch_size: 2, retry_backoff_ms: 3],
           %{kafka: %{"request.timeout.ms" => 1000, "batch.size" => 2, "retry.backoff.ms" => 3}}},
          {:producer, [compression: :no_compression], %{kafka: %{"compression.type" => "none"}}},
          {:producer, [compression: :gzip], %{kafka: %{"compression.type" => :gzip}}},
          {:producer, [allow_topic_auto_creation: true],
           %{kafka: %{"allow.auto.create.topics" => true}}},
          {:producer, [heroku_kafka_env: true], %{env: :heroku}},
          {:producer, [ssl: true], %{kafka: %{"security.protocol" => "ssl"}}},
          {:producer, [ssl: false, sasl: %{}], %{}},
          {:producer, [ssl: [cacertfile: "ca.pem", verify: :verify_none]],
           %{
             kafka: %{
               "security.protocol" => "ssl",
               "ssl.ca.location" => "ca.pem",
               "enable.ssl.certificate.verification" => false
             }
           }},
          {:producer, [sasl: %{mechanism: :plain, login: nil, password: nil}], %{}},
          {:producer, [crema: [max_queue_messages: 7, kafka: ["linger.ms": 5]], ssl: true],
           %{
             max_queue_messages: 7,
             kafka: %{"linger.ms" => 5, "security.protocol" => "ssl"}
           }},
          {:consumer, [], %{group: "baristas", topics: ["orders"]}},
          {:consumer, [start_with_earliest_message: true], %{start: :earliest}},
          {:consumer, [start_with_earliest_message: false], %{start: :latest}},
          {:consumer, [offset_reset_policy: :reset_to_latest], %{out_of_range: :latest}},
          {:consumer, [offset_reset_policy: :reset_by_subscriber], %{out_of_range: :earliest}},
          {:consumer, [offset_commit_interval_seconds: 2],
           %{kafka: %{"auto.commit.interval.ms" => 2000}}},
          {:consumer, [max_bytes: 500_000], %{batch_bytes: 500_000}},
          {:consumer, [min_bytes: 0, max_wait_time: 10_000], %{}},
          {:consumer, [min_bytes: 10_000, max_wait_time: 1_000],
           %{kafka: %{"fetch.min.bytes" => 10_000, "fetch.wait.max.ms" => 1_000}}}
        ] do
      {:ok, options} = options(scope, own)
      required = if scope == :producer, do: [:bootstrap_servers], else: [:group, :topics]
      assert {own, becomes} == {own, Map.take(options, Map.keys(becomes))}
      assert Map.keys(options) -- (Map.keys(becomes) ++ required ++ [:bootstrap_servers]) == []
      if becomes[:env], do: refute(is_map_key(options, :bootstrap_servers))
    end
  end

  test "a login goes with and without TLS, and its password is hidden" do
    sasl = %{mechanism: :scram_sha_512, login: "ada", password: "hunter2"}

    for {own, protocol} <- [
          {[sasl: sasl], "sasl_plaintext"},
          {[sasl: Map.to_list(sasl), ssl: true], "sasl_ssl"},
          {[ssl: [certfile: "c", keyfile: "k"], sasl: sasl], "sasl_ssl"},
          {[endpoints: "kafka+ssl://a:1", sasl: sasl], "sasl_ssl"}
        ] do
      {:ok, %{kafka: kafka} = options} = options(:consumer, own)

      assert %{"sasl.mechanism" => "SCRAM-SHA-512", "sasl.username" => "ada"} = kafka
      assert kafka["security.protocol"] == protocol
      assert kafka["sasl.password"].() == "hunter2"
      refute inspect(options) =~ "hunter2"
    end
  end

  test "a password is in no state of a process" do
    login = [sasl: %{mechanism: :plain, login: "ada", password: "hunter2"}]
    nowhere = Keyword.put(login, :endpoints, [{"127.0.0.1", 1}])

    Configured.configure(
      producer: Keyword.merge(@producer, nowhere),
      consumers: [one: Keyword.merge(@consumer, nowhere)]
    )

    :ok = Crema.Kaffe.Producer.start_producer_client()
    one = start_supervised!({Crema.Kaffe.GroupMemberSupervisor, :one})
    below = for {_, pid, _, _} <- Supervisor.which_children(one), is_pid(pid), do: pid

    for process <- [one, :crema_sup, :kaffe_producer_client | below] do
      state = :sys.get_status(process)
      assert tuple_size(state) > 0
      refute inspect(state, limit: :infinity, printable_limit: :infinity) =~ "hunter2"
    end
  end

  test "what is wrong is told by the names that it was given under" do
    for {scope, own, faults} <- [
          {:producer, [ssl: :yes, sasl: %{mechanism: :md5}], [:sasl, :ssl]},
          {:producer, [sasl: %{mechanism: :plain, login: "a"}], [:sasl]},
          {:producer, [ssl: [versions: [:"tlsv1.2"]]], [:ssl]},
          {:producer, [required_acks: 2, topics: []], [:required_acks, :topics]},
          {:producer, [endpoints: "http://a", null: 0], [:endpoints, :null]},
          {:consumer, [worker_allocation_strategy: :one], [:worker_allocation_strategy]},
          {:consumer, [offset_reset_policy: :no], [:offset_reset_policy]},
          {:consumer, [offset_commit_interval_seconds: "5"], [:offset_commit_interval_seconds]},
          {:consumer, [async_message_ack: 1, heroku_kafka_env: 1],
           [:async_message_ack, :heroku_kafka_env]}
        ] do
      assert {:error, {:bad_options, %{faults: found, message: message}}} = options(scope, own)
      assert found |> Enum.map(& &1.option) |> Enum.sort() == faults
      for name <- faults, do: assert(message =~ to_string(name))
    end

    assert {:error, {:bad_options, %{message: message}}} = given([], :consumer)
    for name <- ~w(endpoints consumer_group topics message_handler), do: assert(message =~ name)
    # By crema's own table.
    Configured.configure(
      consumer: @consumer ++ [max_bytes: "a"],
      producer: @producer ++ [client_name: 1]
    )

    for start <- [
          &Crema.Kaffe.GroupMemberSupervisor.start_link/0,
          fn -> Crema.Kaffe.Producer.produce_sync("a", "b") end
        ] do
      assert {:error, {:bad_options, %{faults: [%{option: option}]}}} = start.()
      assert option in [:max_bytes, :client_name]
    end

    assert {:error, {:bad_options, %{message: message}}} = Crema.Kaffe.Consumer.start_link()
    assert message =~ "Crema.KaffeConfigTest has no handle_message/1"
    assert {:error, {:bad_options, %{message: message}}} = Crema.Kaffe.Consumer.start_link(:none)
    assert message =~ "none is not configured"
  end

  test "a section is a keyword list or a map, named by an atom or a string" do
    section = Map.new(@consumer, fn {name, value} -> {to_string(name), value} end)

    for consumers <- [[one: @consumer], %{"one" => @consumer}, %{one: section}],
        key <- [:one, "one"] do
      Configured.configure(%{consumers: consumers})
      assert {:ok, ^section} = Config.consumer(key)
      # The only one needs no name.
      assert {:ok, ^section} = Config.consumer([])
    end

    Configured.configure(consumers: [one: @consumer, two: @consumer])
    assert {:error, {:bad_options, _}} = Config.consumer([])
  end

  test "a function of five arguments is told of the partition that was chosen last" do
    test = self()

    strategy = fn topic, last, count, key, value ->
      send(test, {topic, last, count, key, value})
      Crema.Kaffe.PartitionSelector.round_robin(last, count)
    end

    {:ok, %{partitioner: choose}} = options(:producer, partition_strategy: strategy)
    assert for(_ <- 1..4, do: choose.("five", 3, nil, nil)) == [1, 2, 0, 1]
    assert_received {"five", 0, 3, "", ""}
    assert_received {"five", 1, 3, "", ""}
  end

  test "options that mean nothing, and those that nobody knows, are named once" do
    :ok = :logger.set_primary_config(:level, :notice)
    on_exit(fn -> :logger.set_primary_config(:level, :warning) end)
    test = self()
    :ok = :logger.add_handler(__MODULE__, __MODULE__, %{config: %{test: test}})
    on_exit(fn -> :logger.remove_handler(__MODULE__) end)

    for scope <- [:producer, :consumer] do
      # All that is known; a value may be as wrong as it likes.
      nothing = for name <- Config.names(scope), do: {String.to_atom(name), :x}
      _ = options(scope, nothing)
      {:ok, _} = options(scope, nothing |> Keyword.take(nothing(scope)) |> Keyword.put(:tempo, 1))
      assert_received {:logged, text}
      for name <- nothing(scope), do: assert(text =~ to_string(name))
      assert text =~ ~r/not known: tempo\./

      {:ok, _} = options(scope, nothing |> Keyword.take(nothing(scope)) |> Keyword.put(:tempo, 1))
      refute_received {:logged, _}
      {:ok, _} = options(scope, [])
      refute_received {:logged, _}
    end
  end

  defp nothing(:producer), do: [:auto_start_producers, :partition_buffer_limit, :max_retries]
  defp nothing(:consumer), do: [:rebalance_delay_ms, :sleep_timeout, :prefetch_count]

  # A handler of the logger's.
  def log(%{msg: {format, args}}, %{config: %{test: test}}),
    do: send(test, {:logged, format |> :io_lib.format(args) |> to_string()})

  def log(_event, _config), do: :ok

  test "Kaffe's own modules are defined where they are asked for" do
    assert {:module, _, _, _} =
             Configured.run("""
             require Crema.Kaffe
             Crema.Kaffe.define()

             defmodule Crema.KaffeConfigTest.Strict do
               @behaviour Kaffe.MessageHandler
               @impl Kaffe.MessageHandler
               def handle_messages(_messages), do: :ok
             end
             """)

    assert apply(Kaffe.PartitionSelector, :md5, ["key8", 32]) == 17
    assert %{id: _, start: _} = apply(Kaffe.GroupMemberSupervisor, :child_spec, [:a])

    for name <- [:Producer, :Consumer, :GroupMemberSupervisor, :GroupManager, :PartitionSelector],
        {function, arity} <- Module.concat(Crema.Kaffe, name).__info__(:functions),
        function != :start_client and {function, arity} != {:child_spec, 2} do
      assert function_exported?(Module.concat(Elixir.Kaffe, name), function, arity)
    end
  end
end
