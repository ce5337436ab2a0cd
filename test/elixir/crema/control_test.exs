defmodule Crema.ControlTest do
  use ExUnit.Case, async: true

  defmodule Forwarder do
    # Sends each message to the test, from where the test wants to begin.
    use Crema.Consumer, topics: ["espresso"]

    @impl true
    def init(_info, {test, start}), do: {:ok, test, %{start: start}}

    @impl true
    def handle_message(message, test) do
      send(test, {:handled, message.value})
      {:ack, test}
    end
  end

  test "a consumer is paused, moved and asked" do
    cluster = start_supervised!({Crema.Cluster, topics: %{"espresso" => 1, "mocha" => 1}})
    bootstrap = Crema.Cluster.bootstrap_servers(cluster)
    producer = start_supervised!({Crema.Producer, bootstrap_servers: bootstrap})
    brew = fn n -> {:ok, _} = Crema.produce(producer, %{topic: "espresso", value: "#{n}"}) end
    Enum.each(0..9, brew)

    opts = [bootstrap_servers: bootstrap, group: "a", args: {self(), 5}, commit: :external]
    consumer = start_supervised!({Forwarder, opts}, restart: :temporary)
    for n <- 5..9, value = "#{n}", do: assert_receive({:handled, ^value}, 20_000)

    place = {"espresso", 0}
    assert :ok = Crema.pause(consumer, place)
    brew.(10)
    refute_receive {:handled, _}, 50
    # The acknowledgement of what the handler was given last may be on its way.
    assert {:ok, [%{lag: 1, high: 11}]} =
             until(fn -> Crema.Control.lag(consumer) end, &match?({:ok, [%{lag: 1}]}, &1))

    assert %{paused: [^place]} = Crema.status(consumer)
    assert :ok = Crema.resume(consumer, :all)
    assert_receive {:handled, "10"}, 20_000

    # Where the seek leads to gives way to what the handler wants.
    assert {:ok, [%{offset: 0}]} = Crema.seek(consumer, :all, :earliest)
    assert_receive {:handled, "5"}, 20_000
    assert {:ok, [%{low: 0, high: 11}]} = Crema.Control.watermarks(consumer, place)
    assert {:ok, [%{partition: 0, delivered: _}]} = Crema.Control.position(consumer)
    assert {:ok, [%{offset: :none}]} = Crema.Control.committed(consumer)
    assert {:error, {:commits_nothing, _}} = Crema.commit(consumer)
    assert {:error, {:commits_nothing, _}} = Crema.Control.commit_async(consumer)
    assert {:error, {:not_assigned, %{partition: 7}}} = Crema.pause(consumer, {"espresso", 7})

    # A time may be a DateTime.
    assert {:ok, [%{offset: _}]} =
             Crema.seek(consumer, :all, {:timestamp, ~U[2020-01-01 00:00:00Z]})

    assert :ok = Crema.Control.add_topics(consumer, ["mocha"])
    assert {:ok, ["espresso", "mocha"]} = Crema.Control.subscription(consumer)
    assert :ok = Crema.Control.remove_topics(consumer, "mocha")
    assert :ok = Crema.Control.subscribe(consumer, ["espresso"])
    assert :ok = Crema.Consumer.stop(consumer)
  end

  # What a function says once it is what is wanted, or at the deadline.
  defp until(ask, wanted?, deadline \\ System.monotonic_time(:millisecond) + 20_000) do
    answer = ask.()

    if wanted?.(answer) or System.monotonic_time(:millisecond) > deadline,
      do: answer,
      else: until(ask, wanted?, deadline)
  end
end
