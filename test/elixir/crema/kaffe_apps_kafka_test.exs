defmodule Crema.KaffeAppsTest do
  # Applications that were written for Kaffe, on a real broker: scripts/kafka run -- mix test --only
  # kafka. Their text is Kaffe's README's but for the line `alias Crema.Kaffe`, the key of the
  # configuration, and names of topics and groups, so that they can be run more than once.
  use ExUnit.Case, async: false

  alias Crema.KaffeSupport, as: App

  @moduletag :kafka

  setup_all do
    bootstrap = System.fetch_env!("CREMA_TEST_BOOTSTRAP")
    producer = start_supervised!({Crema.Producer, bootstrap_servers: bootstrap})
    {:ok, bootstrap: bootstrap, producer: producer}
  end

  setup context do
    id = System.os_time()
    names = %{"topic" => "topic-#{id}", "topic-2" => "topic-2-#{id}", "group" => "group-#{id}"}
    # A consumer that begins at the end is given what comes later.
    for name <- ["topic", "topic-2"],
        do: {:ok, 4} = Crema.partition_count(context.producer, names[name])

    Crema.Printed.to_test()
    {:ok, names: names}
  end

  # The names in a text are made those of this run.
  defp text(context, text) do
    Regex.replace(~r/<([\w-]+)>/, text, fn _, name -> Map.fetch!(context.names, name) end)
  end

  defp configure(context, file), do: App.configure(text(context, file), context.bootstrap)

  defp run(context, code), do: App.run("alias Crema.Kaffe\n" <> text(context, code))

  @worker """
  import Supervisor.Spec

  children = [
    worker(Kaffe.Producer, []),
    worker(Kaffe.Consumer, [])
  ]

  {:ok, supervisor} = Supervisor.start_link(children, strategy: :one_for_one)
  supervisor
  """

  test "the synchronous application of the first Kaffe's README runs", context do
    configure(context, """
    import Config

    config :crema, Crema.Kaffe,
      consumer: [
        endpoints: [kafka: 9092], # that's [hostname: kafka_port]
        topics: ["<topic>"], # the topic(s) that will be consumed
        consumer_group: "<group>", # the consumer group for tracking offsets in Kafka
        message_handler: MessageProcessor, # the module from Step 1 that will process messages

        # optional
        async_message_ack: false, # see "async message acknowledgement" below
        start_with_earliest_message: true # default false
      ],
      producer: [
        endpoints: [kafka: 9092], # [hostname: port]
        topics: ["<topic>"],

        # optional
        partition_strategy: :round_robin
      ]
    """)

    run(context, """
    defmodule MessageProcessor do
      def handle_message(%{key: key, value: value} = message) do
        IO.inspect message
        IO.puts "\#{key}: \#{value}"
        :ok # The handle_message function MUST return :ok
      end
    end
    """)

    supervisor = run(context, @worker)

    assert :ok =
             run(context, """
             :ok = Kaffe.Producer.produce_sync("key", "value")
             :ok = Kaffe.Producer.produce_sync("<topic>", "key", "value of a topic")
             :ok = Kaffe.Producer.produce_sync("<topic>", 2, "key", "value of a partition")
             """)

    for value <- ["value", "value of a topic", "value of a partition"] do
      line = "key: #{value}\n"
      assert_receive {:printed, ^line}, 20_000
    end

    # One partition after another, and that which was named.
    printed =
      for {:printed, "%{" <> _ = text} <- messages(), do: text |> Code.eval_string() |> elem(0)

    placed = for message <- printed, into: %{}, do: {message.value, message.partition}
    assert placed == %{"value" => 0, "value of a topic" => 1, "value of a partition" => 2}
    topic = context.names["topic"]

    for message <- printed do
      assert %{attributes: 0, crc: _, magic_byte: _, key: "key", offset: 0, topic: ^topic} =
               message
    end

    # What was handled is committed, and is not handled by the next.
    :ok = Supervisor.stop(supervisor)
    supervisor = run(context, @worker)
    assert :ok = run(context, ~s|Kaffe.Producer.produce_sync("key", "after that")|)
    assert_receive {:printed, "key: after that\n"}, 20_000
    assert [{:printed, "%{" <> _}] = messages()
    :ok = Supervisor.stop(supervisor)
  end

  test "the asynchronous application of the first Kaffe's README runs", context do
    configure(context, """
    import Config

    config :crema, Crema.Kaffe,
      consumer: [
        endpoints: [kafka: 9092],
        start_with_earliest_message: true
      ],
      producer: [
        endpoints: [kafka: 9092],
        topics: ["<topic>"]
      ]
    """)

    Process.register(self(), __MODULE__)

    run(context, """
    defmodule AsyncMessageProcessor do
      def handle_message(pid, message) do
        spawn_message_processing_worker(pid, message)
        :ok # MUST return :ok
      end

      # Who finishes when the test says so.
      defp spawn_message_processing_worker(pid, message) do
        spawn(fn ->
          send(Crema.KaffeAppsTest, {:begun, self(), message})
          receive do: (:finish -> Kaffe.Consumer.ack(pid, message))
          send(Crema.KaffeAppsTest, {:finished, message.value})
        end)
      end
    end
    """)

    start = """
    import Supervisor.Spec
    consumer_group = "<group>"
    topics = ["<topic>"]
    message_handler = AsyncMessageProcessor
    async = true

    children = [worker(Kaffe.Consumer, [consumer_group, topics, message_handler, async])]
    {:ok, supervisor} = Supervisor.start_link(children, strategy: :one_for_one)
    supervisor
    """

    supervisor = run(context, start)
    topic = context.names["topic"]
    for n <- 1..3, do: :ok = Crema.Kaffe.Producer.produce_sync(topic, 0, "key", "#{n}")

    # None waits for another to be done.
    [one, two, three] = for n <- 1..3, do: begun("#{n}")
    for worker <- [three, one], do: send(worker, :finish)
    for n <- ["3", "1"], do: assert_receive({:finished, ^n}, 5_000)
    :ok = Supervisor.stop(supervisor)

    # The second was not: it comes again, and what is behind it, which Kaffe would leave out.
    send(two, :finish)
    assert_receive {:finished, "2"}, 5_000
    supervisor = run(context, start)
    for n <- 2..3, do: send(begun("#{n}"), :finish)
    for n <- ["2", "3"], do: assert_receive({:finished, ^n}, 5_000)
    :ok = Supervisor.stop(supervisor)

    supervisor = run(context, start)
    :ok = Crema.Kaffe.Producer.produce_sync(topic, 0, "key", "4")
    send(begun("4"), :finish)
    refute_received {:begun, _, _}
    :ok = Supervisor.stop(supervisor)
  end

  defp begun(value) do
    assert_receive {:begun, worker, %{value: ^value}}, 20_000
    worker
  end

  test "an application of Kaffe 2 with two consumers of lists runs", context do
    configure(context, """
    import Config

    config :crema, Crema.Kaffe,
      consumers: [
        subscriber_1: [
          endpoints: [kafka: 9092],
          topics: ["<topic>"],
          consumer_group: "<group>",
          message_handler: MessageProcessor2,
          offset_reset_policy: :reset_to_latest,
          max_bytes: 100_000,
          min_bytes: 10_000,
          max_wait_time: 1_000,
          worker_allocation_strategy: :worker_per_topic_partition,

          # optional
          sasl: %{
            mechanism: :plain,
            login: System.get_env("KAFFE_PRODUCER_USER"),
            password: System.get_env("KAFFE_PRODUCER_PASSWORD")
          }
        ],
        subscriber_2: [
          endpoints: [kafka: 9092],
          topics: ["<topic-2>"],
          consumer_group: "<group>",
          message_handler: AnotherMessageHandler,
          offset_reset_policy: :reset_to_latest,
          max_bytes: 50_000,
          worker_allocation_strategy: :worker_per_topic_partition
        ]
      ],
      producer: [
        endpoints: [kafka: 9092], # [hostname: port]
        topics: ["<topic>"],

        # optional
        partition_strategy: :md5
      ]
    """)

    # They begin at the end.
    assert :ok = run(context, ~s|Kaffe.Producer.produce_sync("<topic>", "key0", "before")|)

    supervisor =
      run(context, """
      defmodule MessageProcessor2 do
        @behaviour Kaffe.MessageHandler

        @impl Kaffe.MessageHandler
        def handle_messages(messages) do
          for %{key: key, value: value} = message <- messages do
            IO.inspect message
            IO.puts "\#{key}: \#{value}"
          end
          :ok # Important!
        end
      end

      defmodule AnotherMessageHandler do
        @behaviour Kaffe.MessageHandler

        @impl Kaffe.MessageHandler
        def handle_messages(messages) do
          for %{key: key, value: value} <- messages, do: IO.puts "another \#{key}: \#{value}"
          {:ok, :no_commit}
        end
      end

      children = [
        %{
          id: Kaffe.GroupMemberSupervisor.Subscriber1,
          start: {Kaffe.GroupMemberSupervisor, :start_link, [:subscriber_1]},
          type: :supervisor
        },
        %{
          id: Kaffe.GroupMemberSupervisor.Subscriber2,
          start: {Kaffe.GroupMemberSupervisor, :start_link, [:subscriber_2]},
          type: :supervisor
        }
      ]

      {:ok, supervisor} = Supervisor.start_link(children, strategy: :one_for_one)
      supervisor
      """)

    for name <- [:subscriber_1, :subscriber_2],
        do: :ok = Crema.await_ready(Crema.Kaffe.GroupManager.member(name), 20_000)

    run(context, """
    :ok = Kaffe.Producer.produce_sync("<topic>", [{"key1", "value1"}, {"key2", "value2"}])
    :ok = Kaffe.Producer.produce("<topic-2>", [{"key3", "value3"}], partition_strategy: :random)
    headers = [{"header", "h"}]
    message = %{key: "key4", value: "value4", headers: headers}
    :ok = Kaffe.Producer.produce_sync("<topic-2>", 0, [message])
    """)

    for line <- [
          "key1: value1\n",
          "key2: value2\n",
          "another key3: value3\n",
          "another key4: value4\n"
        ],
        do: assert_receive({:printed, ^line}, 20_000)

    refute_received {:printed, "key0: before\n"}

    assert run(context, "Kaffe.GroupManager.list_subscribed_topics(:subscriber_2)") ==
             [context.names["topic-2"]]

    :ok = Supervisor.stop(supervisor)
  end

  defp messages do
    {:messages, messages} = Process.info(self(), :messages)
    for message <- messages, do: receive(do: (^message -> message))
  end
end
