defmodule Crema.BroadwayTest do
  # The producer of Broadway, against a stand-in of GenStage's and Broadway's contracts
  # (test/elixir/support/broadway_stand_in.exs).
  use ExUnit.Case, async: true

  alias Crema.Broadway.{Handler, Producer, Waiting}

  @count 300

  defmodule Pipeline do
    use Broadway

    def start_link(opts), do: Broadway.start_link(__MODULE__, opts)

    # What becomes of a message is in it; each is told to the test first.
    def handle_message(:default, message, :context) do
      %{test: test, value: value} = :erlang.binary_to_term(message.data)
      send(test, {:handled, value, message.metadata})

      case value do
        {:raise, _} -> raise "boom"
        {:give_up, _} -> message |> Broadway.Message.configure_ack(on_failure: :ack) |> failed()
        _ -> message
      end
    end

    defp failed(message), do: Broadway.Message.failed(message, :no_use)
  end

  setup_all do
    topics = %{"drinks" => 1, "bounded" => 1, "failing" => 1, "failed" => 1}
    cluster = start_supervised!({Crema.Cluster, topics: topics})
    bootstrap = Crema.Cluster.bootstrap_servers(cluster)
    producer = start_supervised!({Crema.Producer, bootstrap_servers: bootstrap})
    {:ok, bootstrap: bootstrap, producer: producer}
  end

  defp produce(%{producer: producer}, topic, values) do
    messages =
      for value <- values do
        value = :erlang.term_to_binary(%{test: self(), value: value})
        %{topic: topic, key: "k", value: value, headers: [{"h", nil}]}
      end

    {:ok, results} = Crema.produce_many(producer, messages)
    for {:ok, report} <- results, do: report.offset
  end

  defp options(%{bootstrap: bootstrap}, topic, opts) do
    {concurrency, opts} = Keyword.pop(opts, :concurrency, 1)
    opts = [bootstrap_servers: bootstrap, group: "of-#{topic}", topics: [topic]] ++ opts
    producer = [module: {Producer, opts}, concurrency: concurrency]
    [name: :"broadway_#{topic}", producer: producer, processors: [default: [max_demand: 7]]]
  end

  defp pipeline(context, topic, opts) do
    {:ok, pid} = Pipeline.start_link(options(context, topic, opts))
    Process.unlink(pid)
    on_exit(fn -> Process.exit(pid, :shutdown) end)
    pid
  end

  test "a group's messages go through, in order; one that ends has done all it began", context do
    produce(context, "drinks", 1..@count)
    # The embedded cluster notices by this that a member has left.
    opts = [kafka: ["session.timeout.ms": 6000]]
    pid = pipeline(context, "drinks", opts)
    assert_receive {:handled, 1, metadata}, 30_000
    assert %{topic: "drinks", key: "k", headers: [{"h", nil}], timestamp: _} = metadata
    refute Map.has_key?(metadata, :token)

    began = System.monotonic_time(:millisecond)
    assert :ok = Broadway.stop(pid)
    assert System.monotonic_time(:millisecond) - began < 2_000
    first = [metadata.offset | handled()]

    # What was handled is committed, all of it, and the next begins behind it.
    pipeline(context, "drinks", opts)

    rest =
      for n <- (length(first) + 1)..@count do
        assert_receive {:handled, ^n, %{offset: offset}}, 30_000
        offset
      end

    assert first ++ rest == Enum.to_list(0..(@count - 1))
  end

  defp handled do
    receive do
      {:handled, _, %{offset: offset}} -> [offset | handled()]
    after
      0 -> []
    end
  end

  test "nothing is taken that the pipeline has no room for", context do
    produce(context, "bounded", 1..@count)
    {Producer, opts} = options(context, "bounded", max_in_flight: 20)[:producer][:module]
    {:ok, stage} = Broadway.StandIn.ProducerStage.start_link({Producer, opts}, name: :none)
    ref = make_ref()
    ask = &send(stage, {:"$gen_producer", {self(), ref}, &1})
    ask.({:subscribe, nil, []})
    refute_receive {:"$gen_consumer", _, _}, 200

    # As many as were asked for, however many times; and no more wait than may be in flight.
    ask.({:ask, 3})
    assert_receive {:"$gen_consumer", {^stage, ^ref}, first}, 20_000
    taken = more(first, 3)
    refute_receive {:"$gen_consumer", _, _}, 200
    %{state: %{waiting: waiting, demand: 0}} = :sys.get_state(stage)

    assert waiting.batches |> :queue.to_list() |> Enum.map(&length(elem(&1, 1))) |> Enum.sum() ==
             17

    # Acknowledged ones make room for others, in any order.
    assert :ok = Producer.ack(stage, Enum.reverse(taken), [])
    ask.({:ask, 30})
    rest = more([], 20)
    refute_receive {:"$gen_consumer", _, _}, 200
    assert Enum.map(taken ++ rest, & &1.metadata.offset) == Enum.to_list(0..22)
    Process.unlink(stage)
    Process.exit(stage, :shutdown)
  end

  defp more(messages, count) when length(messages) >= count, do: messages

  defp more(messages, count) do
    assert_receive {:"$gen_consumer", _, events}, 20_000
    more(messages ++ events, count)
  end

  test "what fails comes again, is given up or goes to the dead letters, as is said", context do
    failures = [{:default, retries: 1, then: :dead_letter}]
    opts = [failures: failures, dead_letter: "failed", backoff: {1, 10}]
    [raised, given_up, _] = produce(context, "failing", [{:raise, 1}, {:give_up, 2}, 3])
    pid = pipeline(context, "failing", opts)

    assert_receive {:handled, {:raise, 1}, %{offset: ^raised}}, 20_000
    assert_receive {:handled, {:raise, 1}, %{offset: ^raised}}, 20_000
    assert_receive {:handled, {:give_up, 2}, %{offset: ^given_up}}, 20_000
    assert_receive {:handled, 3, _}, 20_000

    reading = [bootstrap_servers: context.bootstrap, topic: "failed", to: :infinity]
    assert [dead] = reading |> Crema.stream() |> Enum.take(1)
    assert {:ok, %{offset: ^raised, attempts: 2}} = Crema.DeadLetter.origin(dead)
    assert :ok = Broadway.stop(pid)
    refute_received {:handled, _, _}
  end

  test "wrong options, and a member that ends, end the pipeline", context do
    Process.flag(:trap_exit, true)
    bad = options(context, "drinks", on_failure: :retry)
    assert {:error, %Crema.Error{code: :bad_options} = error} = Pipeline.start_link(bad)
    assert error.message =~ "on_failure must be :ack or :nack, not :retry"

    assert {:error, %Crema.Error{code: :bad_options}} =
             Pipeline.start_link(options(context, "drinks", grop: "a"))

    {:producer, state} =
      Producer.init(elem(options(context, "drinks", [])[:producer][:module], 1))

    exit = {:EXIT, state.consumer, :why}
    assert {:stop, :why, ^state} = Producer.handle_info(exit, state)
    assert {:noreply, [], ^state} = Producer.handle_info({:EXIT, self(), :normal}, state)
    assert :ok = Producer.terminate(:shutdown, state)

    assert_raise ArgumentError, fn ->
      Producer.configure(self(), %{on_failure: :ack}, on_success: 1)
    end
  end

  # ---- a partition that is given up

  defp handler(wait) do
    info = %{topic: "t", partition: 0, consumer: self()}
    {:ok, state} = Handler.init(info, {self(), wait, :atomics.new(1, [])})
    assert_received {Handler, {:begins, {"t", 0, nil}, ref} = begins}
    {state, ref, Waiting.told(begins, Waiting.new())}
  end

  test "a partition that is revoked waits for what is in the pipeline, and for nothing else" do
    {state, ref, waiting} = handler(20_000)
    waiting = Waiting.told({:messages, ref, [%{n: 1}, %{n: 2}, %{n: 3}]}, waiting)
    assert {[{^ref, %{n: 1}}, {^ref, %{n: 2}}], waiting} = Waiting.take(2, waiting)

    revoked = Task.async(fn -> Handler.handle_revoked(%{}, state) end)
    assert_receive {Handler, {:revoked, ^ref, _} = note}
    waiting = Waiting.told(note, waiting)
    assert {[], waiting} = Waiting.take(5, waiting)
    waiting = Waiting.told({:done, %{ref => 1}}, waiting)
    refute Task.yield(revoked, 50)
    waiting = Waiting.told({:done, %{ref => 1, make_ref() => 1}}, waiting)
    assert {:ok, ^state} = Task.await(revoked)
    assert waiting == Waiting.new()

    # With nothing in the pipeline, or nobody to ask, it does not wait.
    revoked = Task.async(fn -> Handler.handle_revoked(%{}, state) end)
    assert_receive {Handler, {:revoked, ^ref, _} = note}
    assert Waiting.told(note, waiting) == waiting
    assert {:ok, ^state} = Task.await(revoked)
    :atomics.put(state.closing, 1, 1)
    assert {:ok, ^state} = Handler.handle_revoked(%{}, state)
    :atomics.put(state.closing, 1, 0)
    dead = spawn(fn -> :ok end)
    assert {:ok, _} = Handler.handle_revoked(%{}, %{state | stage: dead})
  end

  test "it waits for so long at most, and one that is lost not at all" do
    {state, ref, waiting} = handler(20)
    waiting = Waiting.told({:messages, ref, [%{n: 1}, %{n: 2}]}, waiting)
    {_, waiting} = Waiting.take(1, waiting)
    assert {:ok, ^state} = Handler.handle_revoked(%{}, state)
    assert_received {Handler, {:revoked, ^ref, _}}
    assert_received {Handler, {:lost, ^ref} = late}
    assert Waiting.told(late, waiting) == Waiting.new()

    assert {:ok, ^state} = Handler.handle_lost(%{}, state)
    assert_received {Handler, {:lost, ^ref} = lost}
    gone = Waiting.told(lost, waiting)
    assert gone == Waiting.new()
    # What comes of it later is nobody's.
    assert Waiting.told({:messages, ref, [%{n: 3}]}, gone) == gone
    assert Waiting.told({:done, %{ref => 1}}, gone) == gone
    assert {:ok, ^state} = Handler.handle_info({make_ref(), :idle}, state)
  end

  test "a handler that begins anew has nothing of before; a pipeline that drains takes nothing" do
    {_, ref, waiting} = handler(20)
    waiting = Waiting.told({:messages, ref, [%{n: 1}]}, waiting)
    again = make_ref()
    waiting = Waiting.told({:begins, {"t", 0, nil}, again}, waiting)
    waiting = Waiting.told({:messages, again, [%{n: 1}]}, waiting)
    assert {[{^again, %{n: 1}}], waiting} = Waiting.take(5, waiting)

    waiting = Waiting.told({:messages, again, [%{n: 2}]}, waiting)
    waiting = Waiting.close(waiting)
    waiting = Waiting.told({:messages, again, [%{n: 3}]}, waiting)
    assert {[], _} = Waiting.take(5, waiting)
  end
end
