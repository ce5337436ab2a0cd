defmodule Crema.TestTest do
  use ExUnit.Case, async: true
  import Crema.Test

  setup_all do
    producer = start_supervised!({Crema.Producer, record: true})
    {:ok, producer: producer, stranger: start_supervised!({Crema.TestTest.Stranger, producer})}
  end

  test "a pattern binds its variables, and fields are compared", %{producer: producer} do
    key = "ada"
    Crema.produce!(producer, %{topic: "orders", key: key, value: nil, headers: %{"a" => nil}})

    assert %{offset: 0} = assert_produced(%{topic: "orders", key: ^key, headers: headers})
    assert headers == [{"a", nil}]
    assert_produced %{value: value} when is_nil(value)
    assert value == nil

    assert %{key: "ada"} =
             assert_produced(topic: :orders, key: String.downcase("ADA"), value: nil)

    refute_produced topic: "refunds"
    refute_produced %{key: "a" <> rest} when rest == "nn"
    assert [%{key: "ada"}] = produced(topic: "orders")
    assert [] = produced(&(&1.value != nil))
  end

  test "what is missed, or found, is told with what there is", %{producer: producer} do
    none = assert_raise ExUnit.AssertionError, fn -> assert_produced(%{topic: "none"}) end
    assert none.message =~ ~s(%{topic: "none"})
    assert none.message =~ "This test has produced nothing."

    Crema.produce!(producer, %{topic: "orders", key: "ada"})
    fail(:msg_timed_out, match: [key: "bob"])
    assert {:error, {:msg_timed_out, _}} = Crema.produce(producer, %{topic: "orders", key: "bob"})
    other = assert_raise ExUnit.AssertionError, fn -> assert_produced(topic: "other") end
    assert other.message =~ ~r/These are produced:\n    %{.*key: "ada"/
    assert other.message =~ ~r/These are failed:\n    %{.*error: :msg_timed_out.*key: "bob"/
    found = assert_raise ExUnit.AssertionError, fn -> refute_produced(%{key: "a" <> _}) end
    assert found.message =~ ~r/It is\n    %{.*key: "ada"/
  end

  test "tasks, their tasks and supervised children are the test's own", %{producer: producer} do
    produce = fn key -> Crema.produce!(producer, %{topic: "t", key: key}) end
    Task.await(Task.async(fn -> Task.await(Task.async(fn -> produce.("task") end)) end))
    supervisor = start_supervised!(Task.Supervisor)
    Task.await(Task.Supervisor.async_nolink(supervisor, fn -> produce.("supervised") end))
    start_supervised!({Task, fn -> produce.("child") end})

    for key <- ["task", "supervised", "child"], do: assert_produced([key: key], 5_000)
  end

  test "strangers are not, unless allowed", %{stranger: stranger} do
    :ok = GenServer.call(stranger, "before")
    allow(stranger)
    :ok = GenServer.call(stranger, "after")
    assert ["after"] = for(message <- produced(), do: message.key)
  end

  test "calls are failed and late as they are told" do
    # What is too late would hold up the end of a producer.
    producer = start_supervised!({Crema.Producer, record: true, flush_timeout: 0})
    delay(60_000, times: 1)
    {:ok, _} = Crema.produce_async(producer, %{topic: "t", value: "too late"})
    assert [%{value: "too late"}] = pending()
    delay(20, times: 1)
    {:ok, ref} = Crema.produce_async(producer, %{topic: "t", value: "late"})
    assert_produced %{value: "late"}, 5_000
    assert %{topic: "t"} = Crema.await!(ref)

    fail(:topic_authorization_failed, match: &(&1.key == nil), status: :possibly_persisted)

    assert {:error, {:topic_authorization_failed, %{status: :possibly_persisted}}} =
             Crema.produce(producer, %{topic: "t"})

    reset()
    assert {[], []} = {produced(), failed()}
  end

  for n <- 1..3 do
    test "side by side #{n}", %{producer: producer} do
      for i <- 1..200,
          do: Crema.produce!(producer, %{topic: "t", key: "#{unquote(n)}", value: "#{i}"})

      assert Enum.map(produced(), & &1.value) == Enum.map(1..200, &"#{&1}")
    end
  end

  test "transactions are all or nothing" do
    opts = [record: true, kafka: ["transactional.id": "#{inspect(__MODULE__)}"]]
    producer = start_supervised!({Crema.Producer, opts})

    assert {:aborted, :why} =
             Crema.transaction(producer, fn transaction ->
               Crema.produce!(transaction, %{topic: "t", value: "no"})
               Crema.abort(transaction, :why)
             end)

    refute_produced topic: "t"
    assert [%{value: "no"}] = aborted()
  end

  defmodule Handler do
    use Crema.Consumer,
      group: "g",
      topics: ["sales"],
      args: [],
      failures: [retries: 1, then: :dead_letter],
      dead_letter: "sales-dead"

    @impl true
    def handle_message(%Crema.Message{value: nil}, state), do: {:error, :no_value, state}
    def handle_message(%{value: "later"}, state), do: {:noack, state}
    def handle_message(%{value: value}, state), do: {:ack, [value | state]}
  end

  test "a handler is given messages, with the options it says itself" do
    handled = handle(Handler, ["1", [key: "ada"], %{value: "later"}], retries: 1, offset: 7)
    assert [:ack, {:error, :no_value}, {:error, :no_value}, :noack] = handled.verdicts
    assert %{acked: [7, 8], next: :continue, left: [], state: ["1"]} = handled
    assert [%Crema.Message{topic: "sales", offset: 7}, _, later] = handled.messages
    assert_produced %{topic: "sales-dead", key: "ada", value: nil}

    refute_acked(later)
    error = assert_raise ExUnit.AssertionError, fn -> assert_acked(later) end
    assert error.message =~ "not acknowledged, but :waiting"
    task = Task.async(fn -> Crema.Ack.ack(later) end)
    assert_acked(later, 5_000)
    Task.await(task)
    error = assert_raise ExUnit.AssertionError, fn -> refute_acked(later) end
    assert error.message =~ "is acknowledged"

    assert %{next: {:wait, _}, left: [%{key: "ada"}]} = handle(Handler, [[key: "ada"]])
    assert %{acked: [0]} = handle(fn %{value: "x"} -> :ok end, ["x"], message: :map)
  end

  describe "the cluster" do
    setup do: start_cluster(topics: %{"orders" => 3})

    test "is there in a line, slow and down to order", %{bootstrap_servers: brokers} = context do
      producer = start_supervised!({Crema.Producer, bootstrap_servers: brokers})
      assert Crema.partition_count(producer, "orders") == {:ok, 3}
      Crema.produce!(producer, %{topic: "orders", partition: 0})
      :ok = Crema.Cluster.slow(context.cluster, 100)
      {time, _} = :timer.tc(fn -> Crema.produce!(producer, %{topic: "orders", partition: 0}) end)
      assert time >= 100_000
      :ok = Crema.Cluster.slow(context.cluster, 1, 0)
      :ok = Crema.Cluster.down(context.cluster)
      {:ok, ref} = Crema.produce_async(producer, %{topic: "orders", partition: 0})
      assert {:error, {:timeout, _}} = Crema.await(ref, 50)
      :ok = Crema.Cluster.up(context.cluster)
      assert %{offset: 2} = Crema.await!(ref, 20_000)

      assert %{bootstrap_servers: other} = start_cluster(id: :other, brokers: 2)
      assert [_, _] = String.split(other, ",")
    end
  end

  defmodule Stranger do
    use GenServer

    def start_link(producer), do: GenServer.start_link(__MODULE__, producer)

    @impl true
    def init(producer), do: {:ok, producer}

    @impl true
    def handle_call(key, _from, producer) do
      Crema.produce!(producer, %{topic: "t", key: key})
      {:reply, :ok, producer}
    end
  end
end
