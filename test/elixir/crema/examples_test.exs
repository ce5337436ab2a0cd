defmodule Crema.ExamplesTest do
  # The Elixir examples of the documents run, as they stand there but for the brokers' address.
  # Those of a page are evaluated one after another, with what those before them have bound.
  use ExUnit.Case, async: true

  @root Path.expand("../../..", __DIR__)

  examples = fn file ->
    Regex.scan(~r/^```elixir\n(.*?)^```$/ms, File.read!(file), capture: :all_but_first)
    |> List.flatten()
  end

  @of_readme examples.(Path.join(@root, "README.md"))

  test "what the README produces is handled and printed" do
    leader = Process.group_leader()
    Crema.Printed.to_test()

    [dependency | examples] = @of_readme
    assert {{:crema, git: _, branch: _}, []} = Code.eval_string(dependency)
    run(examples)

    for line <- ["ada wants an espresso\n", "joe wants a ristretto\n", "bob wants a macchiato\n"] do
      assert_receive {:printed, ^line}, 30_000
    end

    stop_linked()
    Process.group_leader(self(), leader)
  end

  # That about Kaffe has configuration files, which are the whole VM's: Crema.KaffePageTest.
  for page <- @root |> Path.join("docs/*.md") |> Path.wildcard(),
      Path.basename(page) != "kaffe.md" and examples.(page) != [] do
    test "the examples of #{Path.basename(page)} run" do
      topics = Map.new(~w(orders orders-dead menu whispers shouts), &{&1, 1})
      cluster = start_supervised!({Crema.Cluster, topics: topics})
      # What pages take for granted.
      start_producer(cluster, name: MyApp.Producer)
      start_producer(cluster, name: MyApp.Till, kafka: ["transactional.id": "till"])
      menu = for drink <- ["espresso", "mocha"], do: %{topic: "menu", key: drink, value: "2"}
      {:ok, _} = Crema.produce_many(MyApp.Producer, menu)

      # The page about Heroku.
      System.put_env("KAFKA_URL", "kafka://" <> Crema.Cluster.bootstrap_servers(cluster))
      brokers = Crema.Cluster.bootstrap_servers(cluster)
      run(for example <- unquote(examples.(page)), do: at(example, brokers))
      System.delete_env("KAFKA_URL")
      stop_linked()
    end
  end

  defp start_producer(cluster, opts) do
    opts = [bootstrap_servers: Crema.Cluster.bootstrap_servers(cluster)] ++ opts
    start_supervised!({Crema.Producer, opts}, id: opts[:name])
  end

  defp run(examples) do
    Enum.reduce(examples, [], &(&1 |> Code.eval_string(&2) |> elem(1)))
  end

  defp at(example, brokers), do: String.replace(example, "localhost:9092", brokers)

  # What examples have started and left running has names, which the next page may need.
  defp stop_linked do
    {:links, links} = Process.info(self(), :links)

    for pid <- links |> Enum.filter(&is_pid/1) |> Enum.sort(:desc), Process.alive?(pid) do
      Process.unlink(pid)
      monitor = Process.monitor(pid)
      Process.exit(pid, :shutdown)
      assert_receive {:DOWN, ^monitor, _, _, _}, 30_000
    end
  end
end
