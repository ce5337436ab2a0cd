defmodule Crema.LoggerTest do
  # What is logged says what it is about, in the metadata.
  use ExUnit.Case, async: true

  defmodule Single do
    use Crema.Consumer, topics: ["logged"], args: :state

    @impl true
    def handle_message(%{value: "crash"}, _state), do: raise("boom")

    def handle_message(message, state) do
      :logger.notice("handled", [], %{told: message.value})
      {:ack, state}
    end
  end

  defmodule Batch do
    use Crema.Consumer, topics: ["logged"], args: :state

    @impl true
    def init(_info, args) do
      :logger.notice("begins", [], %{told: :init})
      {:ok, args}
    end

    @impl true
    def handle_messages([message | _], state) do
      :logger.notice("handled", [], %{told: message.value})
      {:ack, state}
    end
  end

  setup do
    cluster = start_supervised!({Crema.Cluster, topics: %{"logged" => 1}})
    bootstrap = Crema.Cluster.bootstrap_servers(cluster)
    producer = start_supervised!({Crema.Producer, bootstrap_servers: bootstrap})
    messages = for value <- ["one", "two"], do: %{topic: "logged", value: value}
    {:ok, _} = Crema.produce_many(producer, messages)

    id = :"#{__MODULE__}#{System.unique_integer([:positive])}"
    config = %{config: self(), level: :notice, filter_default: :log}
    :ok = :logger.add_handler(id, __MODULE__, config)
    on_exit(fn -> :logger.remove_handler(id) end)
    {:ok, bootstrap: bootstrap, producer: producer}
  end

  # Called by the logger.
  def log(%{meta: meta}, %{config: test}), do: send(test, {:logged, meta})

  defp consumer(module, group, bootstrap, opts) do
    opts = [bootstrap_servers: bootstrap, group: group, id: group] ++ opts
    start_supervised!({module, opts})
  end

  test "lines say which partition and message they are about, as is wanted", context do
    %{bootstrap: bootstrap} = context
    consumer(Single, "singles", bootstrap, [])
    consumer(Single, "offsets", bootstrap, log_offset: true)
    consumer(Batch, "batches", bootstrap, [])

    assert_receive {:logged, %{told: "one", crema_group: "singles"} = meta}, 20_000
    assert %{crema_topic: "logged", crema_partition: 0} = meta
    refute Map.has_key?(meta, :crema_offset)

    assert_receive {:logged, %{told: "one", crema_group: "offsets", crema_offset: 0}}, 20_000
    assert_receive {:logged, %{told: "two", crema_group: "offsets", crema_offset: 1}}, 20_000

    # init's lines have the partition; those of a batch the offset of its first message.
    assert_receive {:logged, %{told: :init, crema_group: "batches", crema_partition: 0}}, 20_000
    assert_receive {:logged, %{told: "one", crema_group: "batches", crema_offset: 0}}, 20_000

    # crema's own lines say whom they are about as well.
    consumer(Single, "crashing", bootstrap, name: :crashing_logger)
    {:ok, _} = Crema.produce(context.producer, %{topic: "logged", value: "crash"})
    assert_receive {:logged, %{crema_client: :crashing_logger, crema_offset: 2} = meta}, 20_000
    assert %{crema_topic: "logged", crema_partition: 0} = meta
    # OTP's own handler leaves out whatever has a domain other than its own.
    refute Map.has_key?(meta, :domain)
  end
end
