defmodule Crema.ProducerTest do
  use ExUnit.Case, async: true

  setup_all do
    cluster = start_supervised!({Crema.Cluster, topics: %{"espresso" => 2}})
    bootstrap = Crema.Cluster.bootstrap_servers(cluster)
    producer = start_supervised!({Crema.Producer, bootstrap_servers: bootstrap})
    :ok = Crema.await_ready(producer, 10_000)
    {:ok, producer: producer, bootstrap: bootstrap}
  end

  test "a synchronous call returns the report of its message", %{producer: producer} do
    message = %{topic: "espresso", partition: 1, key: "k", value: "v", label: {:any, "term"}}

    assert {:ok, report} = Crema.produce(producer, message)
    assert %{topic: "espresso", partition: 1, offset: offset, label: {:any, "term"}} = report
    assert is_integer(offset)
    assert %{partition: 1} = Crema.produce!(producer, message, timeout: 10_000)
  end

  test "an asynchronous call is awaited", %{producer: producer} do
    assert {:ok, ref} = Crema.produce_async(producer, %{topic: "espresso", value: nil})
    assert {:ok, %{topic: "espresso"}} = Crema.await(ref, 10_000)

    assert {:ok, ref} = Crema.produce_async(producer, %{topic: "espresso", value: ""})
    assert %{topic: "espresso"} = Crema.await!(ref)
  end

  test "many messages are reported in their order", %{producer: producer} do
    messages = for n <- 1..100, do: %{topic: "espresso", value: "#{n}", label: n}

    assert {:ok, results} = Crema.produce_many(producer, messages)
    assert Enum.map(results, fn {:ok, %{label: label}} -> label end) == Enum.to_list(1..100)

    assert {:ok, ref} = Crema.produce_many_async(producer, messages)
    assert length(Crema.await!(ref, 10_000)) == 100
  end

  test "reports come as messages to the caller that asks for them", %{producer: producer} do
    :ok =
      Crema.produce_async(producer, %{topic: "espresso", value: "v"}, report: :message, tag: 7)

    assert_receive message, 10_000
    assert [{7, {:ok, %{partition: _, offset: _}}}] = Crema.reports(message)
    assert Crema.reports(:of_another_origin) == :ignored
  end

  test "what was produced without a report is flushed", %{producer: producer} do
    assert :ok = Crema.produce_async(producer, %{topic: "espresso", value: "v"}, report: :none)
    assert :ok = Crema.flush(producer, 10_000)
    assert :ok = Crema.flush!(producer, 10_000)
  end

  test "a message that cannot be sent raises from the ! functions", %{producer: producer} do
    assert {:error, {code, %{message: text}}} = Crema.produce(producer, %{value: "no topic"})
    assert is_atom(code)

    error = assert_raise Crema.Error, fn -> Crema.produce!(producer, %{value: "no topic"}) end
    assert error.code == code
    assert Exception.message(error) =~ text
  end

  test "a producer that was stopped refuses, and can be stopped again", %{producer: running} do
    assert %{} = Crema.info(running)
    assert %{} = Crema.status(running)

    {:ok, producer} = Crema.Producer.start_link(bootstrap_servers: "127.0.0.1:1")
    assert :ok = Crema.Producer.stop(producer)
    assert :ok = Crema.Producer.stop(producer, 1_000)
    assert {:error, {_code, _details}} = Crema.produce(producer, %{topic: "espresso"})
  end

  test "a producer connects when it is used, and again after a disconnect", %{
    bootstrap: bootstrap
  } do
    producer = start_supervised!({Crema.Producer, bootstrap_servers: bootstrap, connect: :use})

    assert %{state: :idle} = Crema.status(producer)
    assert {:ok, _} = Crema.produce(producer, %{topic: "espresso", value: "v"})
    assert Crema.queue_size(producer) == 0
    assert :ok = Crema.disconnect(producer)
    assert %{state: :disconnected} = Crema.status(producer)
    assert {:ok, _} = Crema.produce(producer, %{topic: "espresso", value: "v"})
    assert :ok = Crema.disconnect!(producer)
  end

  test "a producer with outstanding messages stays connected" do
    producer = start_supervised!({Crema.Producer, bootstrap_servers: "127.0.0.1:1"})
    assert :ok = Crema.produce_async(producer, %{topic: "espresso"}, report: :none)
    assert Crema.queue_size(producer) == 1
    assert_raise Crema.Error, fn -> Crema.disconnect!(producer) end
    assert :ok = Crema.purge(producer)
  end

  test "statistics are off unless they are asked for", %{producer: producer} do
    assert {:error, {:not_enabled, %{message: _}}} = Crema.statistics(producer)
  end

  test "the build tells what it is made of" do
    assert %{} = Crema.info()
  end
end
