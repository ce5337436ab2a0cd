defmodule Crema.KaffeKafkaTest do
  # Consumers of Kaffe's, and whole applications, on a real broker, where a group agrees at once:
  # scripts/kafka run -- mix test --only kafka. The configuration is the whole VM's.
  use ExUnit.Case, async: false

  @moduletag :kafka

  alias Crema.Kaffe.{Consumer, GroupManager, GroupMemberSupervisor}
  alias Crema.KaffeSupport, as: Kaffe

  # Sends what it is given to the test; it answers what the message's key says.
  defmodule Handler do
    @behaviour Crema.Kaffe.MessageHandler

    @impl true
    def handle_messages(messages) do
      send(__MODULE__, {:list, messages})
      answer(List.last(messages))
    end

    def handle_message(message) do
      send(__MODULE__, {:single, message})
      answer(message)
    end

    def handle_message(pid, message) do
      send(__MODULE__, {:async, pid, message})
      :ok
    end

    defp answer(%{key: "no_commit"}), do: {:ok, :no_commit}
    defp answer(%{key: "up to " <> offset}), do: {:ok, String.to_integer(offset)}
    defp answer(%{key: "twice"} = message), do: once(message, {:error, :once_more})
    defp answer(%{key: "odd"} = message), do: once(message, {:done, message.value})
    defp answer(_message), do: :ok

    defp once(message, otherwise) do
      key = {message.topic, message.partition, message.offset}
      if Process.put(key, true), do: :ok, else: once_in_vm(key, otherwise)
    end

    # A crash takes the process's own memory.
    defp once_in_vm(key, otherwise) do
      if :persistent_term.get(key, false),
        do: :ok,
        else: :persistent_term.put(key, true) && otherwise
    end
  end

  setup_all do
    bootstrap = System.fetch_env!("CREMA_TEST_BOOTSTRAP")
    producer = start_supervised!({Crema.Producer, bootstrap_servers: bootstrap})
    {:ok, bootstrap: bootstrap, producer: producer}
  end

  setup do
    Process.register(self(), Handler)
    id = System.os_time()
    {:ok, topic: "topic-#{id}", group: "group-#{id}"}
  end

  defp section(context, own) do
    [
      endpoints: Kaffe.endpoints(context.bootstrap),
      topics: [context.topic],
      consumer_group: context.group,
      message_handler: Handler,
      start_with_earliest_message: true
    ]
    |> Keyword.merge(own)
  end

  # Brokers make a topic that is asked for.
  defp made(context, topic) do
    with {:ok, _count} <- Crema.partition_count(context.producer, topic), do: :ok
  end

  # The key says what becomes of it.
  defp produce(context, keys, topic \\ nil) do
    messages = for key <- keys, do: %{topic: topic || context.topic, partition: 0, key: key}
    {:ok, results} = Crema.produce_many(context.producer, messages)
    for {:ok, %{offset: offset}} <- results, do: offset
  end

  defp committed(context, consumer) do
    {:ok, _} = Crema.Control.commit(consumer)
    {:ok, [%{offset: offset}]} = Crema.Control.committed(consumer, {context.topic, 0})
    offset
  end

  # One list for each message.
  defp lists(context, own \\ []),
    do: Kaffe.configure(consumers: [lists: section(context, own ++ [crema: [batch_messages: 1]])])

  test "a list has messages as Kaffe has them", context do
    message = %{
      topic: context.topic,
      partition: 0,
      key: nil,
      value: "v",
      headers: [{"h", "1"}, {"n", nil}],
      timestamp: 77
    }

    {:ok, _} = Crema.produce_many(context.producer, [message, %{message | key: "k", value: nil}])
    Kaffe.configure(consumers: [lists: section(context, [])])
    start_supervised!({GroupMemberSupervisor, :lists})

    expected = %{
      topic: context.topic,
      partition: 0,
      offset: 0,
      key: "",
      value: "v",
      headers: [{"h", "1"}, {"n", ""}],
      ts: 77,
      ts_type: :create
    }

    assert_receive {:list, [first, second]}, 20_000
    assert first == expected
    assert second == %{expected | offset: 1, key: "k", value: ""}
    assert eventually(context, 2) == 2
    :ok = stop_supervised({GroupMemberSupervisor, :lists})

    Kaffe.configure(consumers: [lists: section(context, null: nil, consumer_group: "apart")])
    start_supervised!({GroupMemberSupervisor, :lists})

    assert_receive {:list, [%{key: nil, headers: [{"h", "1"}, {"n", nil}]}, %{value: nil}]},
                   20_000
  end

  test "what a list returns says what is committed, and what comes again", context do
    # The key of each, and up to where the group is then.
    steps = [
      {"a", 1},
      {"no_commit", 1},
      {"no_commit", 1},
      {"up to 1", 2},
      {"up to 9", 5},
      {"no_commit", 5},
      {"twice", 7},
      {"odd", 8},
      {"no_commit", 8}
    ]

    lists(context)
    :ok = made(context, context.topic)
    start_supervised!({GroupMemberSupervisor, :lists})

    for {{key, committed}, offset} <- Enum.with_index(steps) do
      [^offset] = produce(context, [key])
      for _ <- 1..times(key), do: assert_receive({:list, [%{offset: ^offset, key: ^key}]}, 20_000)
      assert {key, eventually(context, committed)} == {key, committed}
    end

    refute_received {:list, _}

    # What is not committed comes again when the group has another member.
    :ok = stop_supervised({GroupMemberSupervisor, :lists})
    start_supervised!({GroupMemberSupervisor, :lists})
    assert_receive {:list, [%{offset: 8}]}, 20_000
  end

  # It comes again after an error, and after what may not be returned.
  defp times(key), do: if(key in ~w(twice odd), do: 2, else: 1)

  # The handler has sent its message before it returned.
  defp eventually(context, wanted, tries \\ 200) do
    case committed(context, GroupManager.member(:lists)) do
      offset when offset == wanted or tries == 0 -> offset
      _offset -> Process.sleep(5) && eventually(context, wanted, tries - 1)
    end
  end

  test "nothing more comes when all that may wait is not committed", context do
    produce(context, List.duplicate("no_commit", 5) ++ ["a"])
    lists(context, crema: [batch_messages: 1, max_in_flight: 3])
    start_supervised!({GroupMemberSupervisor, :lists})

    for offset <- 0..2, do: assert_receive({:list, [%{offset: ^offset}]}, 20_000)
    refute_receive {:list, _}, 100
    assert %{partitions: partitions} = Crema.info(GroupManager.member(:lists))
    assert Enum.any?(partitions, &(&1.state == :max_in_flight))
  end

  test "partitions of one number take turns, unless each has its own worker", context do
    defmodule Slow do
      @behaviour Crema.Kaffe.MessageHandler

      @impl true
      def handle_messages([%{topic: topic} | _]) do
        send(Handler, {:began, topic, self()})
        receive do: (:go_on -> :ok)
      end
    end

    [one, two] = topics = [context.topic, context.topic <> "-2"]
    for topic <- topics, do: produce(context, ["a"], topic)
    own = [topics: topics, message_handler: Slow]
    Kaffe.configure(consumers: [turns: section(context, own)])
    start_supervised!({GroupMemberSupervisor, :turns})

    assert_receive {:began, first, pid}, 20_000
    refute_receive {:began, _, _}, 200
    # Also when the one whose turn it is dies.
    Process.exit(pid, :kill)
    [second] = topics -- [first]
    assert_receive {:began, ^second, pid}, 20_000
    send(pid, :go_on)
    assert_receive {:began, ^first, pid}, 20_000
    send(pid, :go_on)
    :ok = stop_supervised({GroupMemberSupervisor, :turns})

    own = own ++ [worker_allocation_strategy: :worker_per_topic_partition, consumer_group: "each"]
    Kaffe.configure(consumers: [turns: section(context, own)])
    start_supervised!({GroupMemberSupervisor, :turns})
    assert_receive {:began, ^one, pid_of_one}, 20_000
    assert_receive {:began, ^two, pid_of_two}, 20_000
    for pid <- [pid_of_one, pid_of_two], do: send(pid, :go_on)
  end

  test "single messages are acknowledged by :ok, and come again otherwise", context do
    produce(context, ["a", "twice", "odd", "a"])
    Kaffe.configure(consumer: section(context, []))
    start_supervised!(Consumer)

    assert_receive {:single, %{offset: 0} = message}, 20_000
    assert %{attributes: 0, crc: nil, magic_byte: 2, ts_type: :create, value: ""} = message
    refute is_map_key(message, :token)
    for offset <- [1, 1, 2, 2, 3], do: assert_receive({:single, %{offset: ^offset}}, 20_000)
  end

  test "single messages are acknowledged by whoever is done with them", context do
    produce(context, ~w(a b c d))
    Kaffe.configure(consumer: section(context, async_message_ack: true))
    {:ok, consumer} = Consumer.start_link()
    [a, b, c, d] = for _ <- 1..4, do: receive_async(consumer)

    # Nothing behind one that is not done is committed.
    assert :ok = Task.await(Task.async(fn -> Consumer.ack(consumer, b) end))
    assert committed(context, consumer) == 0
    assert :ok = Consumer.ack(consumer, a)
    assert committed(context, consumer) == 2
    # One of which no more is known than where it is.
    assert :ok = Consumer.ack(consumer, Map.take(d, [:topic, :partition, :offset]))
    assert committed(context, consumer) == 2
    assert :ok = Consumer.ack(consumer, c)
    assert committed(context, consumer) == 4

    elsewhere = %{topic: context.topic, partition: 99, offset: 0}
    assert {:error, {:stale_assignment, _}} = Consumer.ack(consumer, elsewhere)
    :ok = Crema.Consumer.stop(consumer)
    assert {:error, {:stale_assignment, _}} = Consumer.ack(consumer, d)
    assert {:error, {:stale_assignment, _}} = Consumer.ack(consumer, Map.delete(d, :token))
  end

  defp receive_async(consumer) do
    assert_receive {:async, ^consumer, message}, 20_000
    message
  end

  test "a consumer may be given group, topics, module and way, and topics later", context do
    [one, two] = [context.topic, context.topic <> "-2"]
    for topic <- [one, two], do: produce(context, ["a"], topic)
    Kaffe.configure(consumer: Keyword.drop(section(context, []), [:topics, :message_handler]))
    {:ok, consumer} = Consumer.start_link("given", [one], Handler, true)
    assert_receive {:async, ^consumer, %{topic: ^one}}, 20_000
    :ok = Crema.Consumer.stop(consumer)

    Kaffe.configure(consumers: %{"more" => section(context, [])})
    start_supervised!({GroupMemberSupervisor, "more"})
    assert_receive {:list, [%{topic: ^one}]}, 20_000
    assert {:ok, []} = GroupManager.subscribe_to_topics({:more, [one]})
    assert {:ok, [^two]} = GroupManager.subscribe_to_topics({:more, [one, two]})
    assert GroupManager.list_subscribed_topics(:more) |> Enum.sort() == [one, two]
    assert_receive {:list, [%{topic: ^two}]}, 20_000
    assert {:error, {:not_found, _}} = GroupManager.subscribe_to_topics(["a"])
  end
end
