defmodule Cafe.Application do
  @moduledoc false
  use Application

  @impl true
  def start(_type, _args) do
    children =
      embedded_cluster() ++
        [{Registry, keys: :duplicate, name: Cafe.Subscribers}, Cafe.Clients] ++
        selftest()

    # The clients know the address of what was started before them.
    Supervisor.start_link(children, strategy: :rest_for_one, name: Cafe.Supervisor)
  end

  defp embedded_cluster do
    case Application.fetch_env!(:cafe, :env) do
      nil -> [{Crema.Cluster, name: Cafe.Cluster, topics: %{topic() => 4}}]
      _env -> []
    end
  end

  defp selftest do
    if Application.fetch_env!(:cafe, :selftest), do: [Cafe.SelfTest], else: []
  end

  defp topic, do: Application.fetch_env!(:cafe, :topic)
end
