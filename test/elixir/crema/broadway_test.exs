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
        {:stay, _} -> await_go(test, message)
        {:raise, _} -> raise "boom"
        {:give_up, _} -> message |> Broadway.Message.configure_ack(on_failure: :ack) |> failed()
        {:refuse, _} -> failed(message)
        _ -> message
      end
    end

    defp await_go(test, message) do
      send(test, {:stays, self()})

      receive do
        :go -> message
      end
    end

    defp failed(message), do: Broadway.Message.failed(message, :no_use)
  end

  setup_all do
    topics = %{
      "drinks" => 1,
      "bounded" => 1,
      "failing" => 1,
      "failed" => 1,
      "crashing" => 1,
      "wrong" => 1
    }

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

    on_exit(fn ->
      monitor = Process.monitor(pid)
      Process.exit(pid, :shutdown)
      assert_receive {:DOWN, ^monitor, _, _, _}, 30_000
    end)

    pid
  end

  test "a group's messages go through, in order; one that ends has done all it began", context do
    produce(context, "drinks", Enum.map(1..@count, &if(&1 == 20, do: {:stay, 20}, else: &1)))
    # The embedded cluster notices by this that a member has left.
    opts = [kafka: ["session.timeout.ms": 6000]]
    pid = pipeline(context, "drinks", [drain_timeout: 20_000] ++ opts)
    assert_receive {:stays, processor}, 30_000
    assert_received {:handled, 1, metadata}
    assert %{topic: "drinks", key: "k", headers: [{"h", nil}], timestamp: _} = metadata
    refute Map.has_key?(metadata, :token)

    stop = Task.async(fn -> Broadway.stop(pid) end)
    await_drain(Broadway.stage(:broadway_drinks, :Producer_0))
    send(processor, :go)
    # It does not wait for messages that the pipeline has not begun.
    assert :ok = Task.await(stop, 10_000)
    first = [metadata.offset | handled()]
    assert length(first) in 20..50

    # What was handled is committed, all of it, and the next begins behind it.
    pipeline(context, "drinks", opts)

    rest =
      for n <- (length(first) + 1)..@count//1 do
        assert_receive {:handled, ^n, %{offset: offset}}, 30_000
        offset
      end

    assert first ++ rest == Enum.to_list(0..(@count - 1))
    assert handled() == []
  end

  defp await_drain(stage) do
    unless :sys.get_state(stage).state.waiting.closed? do
      Process.sleep(5)
      await_drain(stage)
    end
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

    batches = waiting.batches |> Map.values() |> Enum.flat_map(&:queue.to_list/1)
    assert batches |> List.flatten() |> length() == 17

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
    # By the exception, and by the reason.
    failures = [
      {RuntimeError, retries: 1, then: :dead_letter},
      {:no_use, retries: 0, then: :skip}
    ]

    opts = [failures: failures, dead_letter: "failed", backoff: {1, 10}]
    values = [{:raise, 1}, {:give_up, 2}, {:refuse, 3}, 4]
    [raised, given_up, _, _] = produce(context, "failing", values)
    pid = pipeline(context, "failing", opts)

    assert_receive {:handled, {:raise, 1}, %{offset: ^raised}}, 20_000
    assert_receive {:handled, {:raise, 1}, %{offset: ^raised}}, 20_000
    assert_receive {:handled, {:give_up, 2}, %{offset: ^given_up}}, 20_000
    assert_receive {:handled, {:refuse, 3}, _}, 20_000
    assert_receive {:handled, 4, _}, 20_000

    reading = [bootstrap_servers: context.bootstrap, topic: "failed", to: :infinity]
    assert [dead] = reading |> Crema.stream() |> Enum.take(1)
    assert {:ok, %{offset: ^raised, attempts: 2}} = Crema.DeadLetter.origin(dead)
    assert :ok = Broadway.stop(pid)
    refute_received {:handled, _, _}
  end

  test "what was in a stage that crashes comes again", context do
    produce(context, "crashing", [1, {:stay, 2}, 3])
    pid = pipeline(context, "crashing", kafka: ["session.timeout.ms": 6000])
    assert_receive {:stays, processor}, 30_000

    [stage, name] =
      for id <- [:Producer_0, :Processor], do: Broadway.stage(:broadway_crashing, id)

    stage = Process.whereis(stage)
    monitor = Process.monitor(stage)
    Process.exit(processor, :kill)
    assert_receive {:DOWN, ^monitor, _, _, {:shutdown, {:stage_crashed, ^processor}}}, 30_000

    # By the same pipeline: its producer is another member of the group.
    assert_receive {:stays, again}, 30_000
    assert Process.whereis(name) == again
    send(again, :go)
    assert_receive {:handled, 3, _}, 30_000
    assert :ok = Broadway.stop(pid)
  end

  test "no secret is in what Broadway has, and tells others, of the options", context do
    opts = options(context, "drinks", kafka: ["sasl.password": "s3cret"])
    assert inspect(opts) =~ "s3cret"
    assert {[], opts} = Producer.prepare_for_start(Pipeline, opts)
    refute inspect(opts, limit: :infinity) =~ "s3cret"
  end

  test "the partitions of a topic are shared out evenly" do
    numbers = for n <- 5..12, do: Producer.partition(%{metadata: %{topic: "t", partition: n}})
    assert numbers |> Enum.map(&rem(&1, 4)) |> Enum.frequencies() |> Map.values() == [2, 2, 2, 2]
  end

  test "wrong options, and a member that ends, end the pipeline", context do
    # With a group of its own: the embedded cluster takes long to notice that a member has left.
    Process.flag(:trap_exit, true)
    bad = options(context, "wrong", on_failure: :retry)
    assert {:error, {%Crema.Error{code: :bad_options} = error, _}} = Pipeline.start_link(bad)
    assert error.message =~ "on_failure must be :ack or :nack, not :retry"

    assert {:error, {%Crema.Error{code: :bad_options}, _}} =
             Pipeline.start_link(options(context, "wrong", grop: "a"))

    for own <- [[name: :one], [kafka: ["group.instance.id": "one"]]] do
      assert {:error, {%Crema.Error{message: message}, _}} =
               Pipeline.start_link(options(context, "wrong", [concurrency: 2] ++ own))

      assert message =~ "is for one member, but the producers' concurrency is 2"
      assert {[], _} = Producer.prepare_for_start(Pipeline, options(context, "wrong", own))
    end

    for bad <- ["text", [:broken | :list], [{:group, "a"}, 1]] do
      assert_raise Crema.Error, ~r/a keyword list or a map/, fn -> Producer.init(bad) end
    end

    {:producer, state} = Producer.init(elem(options(context, "wrong", [])[:producer][:module], 1))

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

  test "partitions take turns, and one that is slow does not hold up others" do
    [a, b] = refs = [make_ref(), make_ref()]
    info = &Waiting.told({:begins, {"t", &1, nil}, &2}, &3)
    waiting = info.(1, b, info.(0, a, Waiting.new()))
    batch = fn ref, numbers, waiting -> Waiting.told({:messages, ref, numbers}, waiting) end
    waiting = batch.(a, Enum.to_list(21..30), batch.(b, Enum.to_list(1..30), waiting))
    waiting = batch.(a, Enum.to_list(31..40), waiting)
    {taken, waiting} = Waiting.take(20, waiting)
    of = fn ref, taken -> for {^ref, n} <- taken, do: n end
    assert Enum.map(refs, &of.(&1, taken)) == [Enum.to_list(21..30), Enum.to_list(1..10)]

    # One is done with its ten.
    {taken, waiting} = Waiting.take(10, Waiting.told({:done, %{b => 10}}, waiting))
    assert taken == Enum.map(11..20, &{b, &1})
    {taken, waiting} = Waiting.take(100, waiting)
    assert Enum.map(refs, &of.(&1, taken)) == [Enum.to_list(31..40), Enum.to_list(21..30)]
    assert waiting.batches == %{}
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
